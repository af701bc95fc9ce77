import pytest
import torch
from hypothesis import given, settings

from gradcheck_suite.architectures.build import build, make_batch
from gradcheck_suite.architectures.grammar import applicable, expression, output_shape, places
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.strategies import architectures
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.errors import UsageError

CASES = [
    (layer("dense", units=3), (5,)),
    (layer("dense", units=3, bias=False), (4, 5)),
    (layer("conv1d", channels=4, kernel=3, stride=2, padding=1, dilation=2), (2, 9)),
    (layer("conv2d", channels=4, kernel=(2, 3), stride=(2, 1), padding=(0, 1), groups=2), (2, 7, 6)),
    (layer("conv2d", channels=4, padding=1, padding_mode="circular"), (2, 7, 6)),
    (layer("max_pool"), (2, 7)),
    (layer("max_pool", kernel=3, stride=2, padding=1), (2, 7, 6)),
    (layer("avg_pool", kernel=(3, 2)), (2, 7, 6)),
    (layer("adaptive_avg_pool", size=3), (2, 7, 6)),
    (layer("adaptive_max_pool", size=(2, 3)), (2, 7, 6)),
    (layer("upsample", scale=3), (2, 7)),
    (layer("flatten"), (2, 3, 4)),
    (layer("last_step"), (6, 3)),
    (layer("mean_over_time"), (6, 3)),
    (layer("global_avg_pool"), (2, 3, 4)),
    (layer("rnn", units=3, layers=2), (6, 4)),
    (layer("lstm", units=3, bidirectional=True), (6, 4)),
    (layer("gru", units=3), (6, 4)),
    (layer("attention", heads=2, causal=True), (6, 4)),
    (layer("encoder", heads=2, hidden=5), (6, 4)),
    (layer("encoder", heads=1, hidden=5, norm="post", causal=True), (6, 4)),
    *((layer(kind), shape) for kind in ("layer_norm", "rms_norm") for shape in ((4,), (3, 4), (2, 3, 4))),
    *((layer("batch_norm", eps=1e-3), shape) for shape in ((4,), (3, 4), (2, 3, 4))),
    *((layer("group_norm", groups=2), shape) for shape in ((4,), (2, 4), (2, 3, 4))),
    *((layer("instance_norm"), shape) for shape in ((2, 4), (2, 3, 4))),
    *((layer(kind), (2, 3)) for kind, known in KINDS.items() if known.family == "activation"),
    (layer("sequential", layer("dense", units=3), layer("relu")), (5,)),
    (layer("residual", layer("conv2d", channels=2, kernel=1), layer("sequential", layer("relu"))), (2, 3, 4)),
    (layer("repeated", layer("dense", units=5), layer("tanh"), times=3), (5,)),
    (layer("concatenate", layer("dense", units=3)), (4, 5)),
    (layer("concatenate", layer("conv2d", channels=3, padding=1)), (2, 3, 4)),
    (layer("concatenate", layer("conv1d", channels=3, padding=1), axis=0), (2, 6)),
]

REFUSED = [
    (layer("dens", units=3), (5,), "Did you mean 'dense'"),
    (layer("dense", units=3), (2, 3, 4), "flatten"),
    (layer("conv2d", channels=3), (5,), "channels, height, width"),
    (layer("conv2d", channels=3), (2, 2, 9), "a window of 3 on 2 positions"),
    (layer("conv1d", channels=3, kernel=(2, 2)), (2, 9), "1 spatial axes"),
    (layer("conv1d", channels=3, groups=2), (4, 9), "a divisor of both"),
    (layer("conv1d", channels=3, padding=3, padding_mode="circular"), (4, 2), "circular padding"),
    (layer("max_pool", padding=2), (2, 9), "half the kernel"),
    (layer("attention", heads=3), (6, 4), "a divisor: 1, 2, 4"),
    (layer("group_norm", groups=3), (4,), "a divisor of the channels"),
    (layer("group_norm", groups=4), (4,), "one value per group"),
    (layer("instance_norm"), (4, 1), "at least 2 positions"),
    (layer("relu", layer("relu")), (4,), "have layers inside"),
    (layer("residual"), (4,), "without layers inside"),
    (layer("residual", layer("dense", units=3)), (4,), r"ends with \(4,\)"),
    (layer("repeated", layer("dense", units=3)), (4,), r"ends with \(4,\)"),
    (layer("concatenate", layer("flatten")), (2, 3), "changes axis 1 only"),
    (layer("concatenate", layer("relu"), axis=2), (2, 3), "0 to 1"),
]


@pytest.mark.parametrize(("one", "shape"), CASES, ids=str)
def test_the_inferred_shape_is_what_the_module_gives(one, shape):
    architecture = Architecture(input_shape=shape, layers=(one,), batch=3)
    output = build(architecture, 0)(*make_batch(architecture, 0).args)
    assert tuple(output.shape) == (3, *output_shape(one, shape))


def test_every_kind_is_among_the_cases():
    assert {found.kind for one, _ in CASES for _, found in one.walk()} == set(KINDS) - {"embedding"}


@pytest.mark.parametrize(("one", "shape", "message"), REFUSED, ids=str)
def test_a_bad_layer_is_refused_with_what_is_allowed(one, shape, message):
    with pytest.raises(UsageError, match=message):
        output_shape(one, shape)
    assert not applicable(one, shape)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(architectures())
def test_the_shapes_inside_a_drawn_architecture_are_those_that_run(architecture):
    model = build(architecture, 0)
    seen = {}
    for path in places(architecture):
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output, path=path: seen.update({path: (tuple(args[0].shape[1:]), tuple(output.shape[1:]))})
        )
    model(*make_batch(architecture, 0).args)
    assert seen == {path: (place.input_shape, place.output_shape) for path, place in places(architecture).items()}


def test_only_options_off_their_default_are_written():
    assert expression(layer("conv2d", channels=4, stride=1), (2, 5, 5)) == "nn.Conv2d(2, 4, 3)"
    assert expression(layer("conv2d", channels=4, stride=2, bias=False), (2, 5, 5)) == "nn.Conv2d(2, 4, 3, stride=2, bias=False)"
    assert expression(layer("embedding", units=4), (5,), vocabulary=7) == "nn.Embedding(7, 4)"


def test_options_reach_the_module():
    architecture = Architecture(input_shape=(4, 6), layers=(layer("lstm", units=3, layers=2, bidirectional=True),))
    lstm = build(architecture, 0)[0]
    assert isinstance(lstm, torch.nn.LSTM)
    assert (lstm.input_size, lstm.hidden_size, lstm.num_layers, lstm.bidirectional) == (6, 3, 2, True)


@pytest.mark.parametrize("kind", ["attention", "encoder"])
def test_a_causal_layer_does_not_see_later_positions(kind):
    options = {"heads": 2, "causal": True} | ({"hidden": 5} if kind == "encoder" else {})
    architecture = Architecture(input_shape=(5, 4), layers=(layer(kind, **options),))
    x = make_batch(architecture, 0).args[0].requires_grad_()
    build(architecture, 0)(x)[:, 1].sum().backward()
    assert not x.grad[:, 2:].any()
    assert x.grad[:, :2].any()
