import json

import pytest
import torch

from gradcheck_suite.architectures.build import build, loss_function, make_batch, optimizer_factory
from gradcheck_suite.architectures.losses import LOSSES
from gradcheck_suite.architectures.optimizers import OPTIMIZERS
from gradcheck_suite.architectures.program import shapes
from gradcheck_suite.architectures.values import VALUES
from gradcheck_suite.core.architecture import Architecture, Defect, layer
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.schema import load

DENSE = Architecture(input_shape=(3,), layers=(layer("dense", units=4), layer("relu"), layer("dense", units=2)))
NESTED = Architecture(
    input_shape=(2, 4, 5),
    layers=(
        layer("residual", layer("conv2d", channels=2, kernel=(3, 1), padding=(1, 0)), layer("residual", layer("leaky_relu", slope=1.0))),
        layer("concatenate", layer("conv2d", channels=3, kernel=1)),
        layer("dropout", p=0.0),
        layer("flatten"),
    ),
    loss="kl",
    defects=(Defect(kind="scaled-backward", module="0.1.0", strength=1.01),),
)


def bits(tensors):
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


@pytest.mark.parametrize("initialization", ["torch-default", "he-normal"])
def test_equal_seeds_give_equal_bits_and_others_do_not(initialization):
    architecture = DENSE.changed(initialization=initialization)
    first, again, other = (bits(build(architecture, seed).parameters()) for seed in (5, 5, 6))
    assert first == again != other
    first, again, other = (bits(make_batch(architecture, seed).args) for seed in (5, 5, 6))
    assert first == again != other


def test_building_leaves_the_global_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(DENSE, 0)
    make_batch(DENSE, 0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_default_dtype() is torch.float32


def test_building_does_not_depend_on_the_default_dtype():
    expected = bits(build(DENSE, 0).parameters())
    torch.set_default_dtype(torch.float64)
    try:
        assert bits(build(DENSE, 0).parameters()) == expected
    finally:
        torch.set_default_dtype(torch.float32)


def test_float32_is_float64_rounded():
    wide, narrow = build(DENSE, 3), build(DENSE.changed(dtype="float32"), 3)
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.float32}
    assert bits(narrow.parameters()) == bits([parameter.float() for parameter in wide.parameters()])
    wide, narrow = make_batch(DENSE, 3), make_batch(DENSE.changed(dtype="float32"), 3)
    assert bits([*narrow.args, narrow.targets]) == bits([wide.args[0].float(), wide.targets.float()])


def test_children_parameters_and_mode_are_as_said():
    model = build(NESTED.changed(training=False), 0)
    assert isinstance(model, torch.nn.Sequential)
    assert [name for name, _ in model.named_parameters()] == ["0.0.weight", "0.0.bias", "1.0.weight", "1.0.bias"]
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in build(NESTED, 0).modules())


def test_a_residual_adds_and_a_concatenation_keeps_both():
    architecture = Architecture(input_shape=(3,), layers=(layer("residual", layer("tanh")), layer("concatenate", layer("relu"))))
    x = make_batch(architecture, 0).args[0]
    y = x + x.tanh()
    assert torch.equal(build(architecture, 0)(x), torch.cat([y, y.relu()], 1))


REGIMES = {
    "normal": lambda x: 0.8 < x.std() < 1.2,
    "large": lambda x: 800 < x.std() < 1200,
    "tiny": lambda x: 0.8e-6 < x.std() < 1.2e-6,
    "zeros": lambda x: not x.any(),
    "integers": lambda x: set(x.unique().tolist()) == set(range(-3, 4)),
    "ties": lambda x: len(x.unique()) == 2,
    "one-hot": lambda x: torch.equal(x.sum(-1), torch.ones(40, dtype=x.dtype)) and set(x.unique().tolist()) == {0.0, 1.0},
    "masked": lambda x: 0.3 < (x == 0).double().mean() < 0.7 and len(x.unique()) > 100,
}


@pytest.mark.parametrize("values", VALUES)
def test_a_regime_has_its_values(values):
    x = make_batch(DENSE.changed(input_shape=(20,), batch=40, values=values), 0).args[0]
    assert x.dtype is torch.float64
    assert REGIMES[values](x)


@pytest.mark.parametrize("values", VALUES)
def test_tokens_stay_in_the_vocabulary(values):
    architecture = Architecture(input_shape=(20,), layers=(layer("embedding", units=2),), vocabulary=5, batch=40, values=values)
    x = make_batch(architecture, 0).args[0]
    expected = {"zeros": {0}, "ties": set(range(5))}.get(values, set(range(5)))
    assert x.dtype is torch.int64
    assert set(x.unique().tolist()) == expected
    assert values != "ties" or torch.equal(x, x[:, :1].expand_as(x))
    assert values != "masked" or (x == 0).double().mean() > 0.4


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(5,), (3, 5), (5, 2, 3)])
def test_targets_fit_the_loss(loss, shape):
    architecture = Architecture(input_shape=shape, layers=(layer("identity"),), batch=4, loss=loss)
    batch = make_batch(architecture, 0)
    output = batch.args[0].requires_grad_()
    value = loss_function(architecture)(output, batch.targets)
    value.backward()
    assert value.dim() == 0
    assert (output.grad != 0).all()


def test_losses_over_classes_agree_with_their_definition():
    batch = make_batch(DENSE.changed(loss="cross-entropy", layers=(layer("dense", units=5),)), 0)
    output = torch.randn(4, 5, dtype=torch.float64)
    log_probabilities = output - output.exp().sum(1, keepdim=True).log()
    expected = -log_probabilities[torch.arange(4), batch.targets].mean()
    for name in ("cross-entropy", "nll"):
        torch.testing.assert_close(LOSSES[name].function(output, batch.targets), expected)
    p = torch.softmax(torch.randn(4, 5, dtype=torch.float64), 1)
    torch.testing.assert_close(LOSSES["kl"].function(output, p), (p * (p.log() - log_probabilities)).sum(1).mean())


def test_the_channels_of_an_image_are_the_classes():
    image = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    targets = torch.randint(0, 5, (2, 3, 4))
    expected = torch.nn.functional.cross_entropy(image, targets)
    torch.testing.assert_close(LOSSES["cross-entropy"].function(image, targets), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_goes_downhill_with_the_learning_rate(name):
    architecture = DENSE.changed(optimizer=name, learning_rate=1e-3, loss="mse")
    model, batch, loss = build(architecture, 0), make_batch(architecture, 0), loss_function(architecture)
    optimizer = optimizer_factory(architecture)(model.parameters())
    before = loss(model(*batch.args), batch.targets)
    before.backward()
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert loss(model(*batch.args), batch.targets) < before


@pytest.mark.parametrize(("facts", "message"), [
    ({"loss": "mae"}, "unknown loss"),
    ({"initialization": "he_normal"}, "Did you mean 'he-normal'"),
    ({"optimizer": "rmsprop"}, "unknown optimizer"),
    ({"values": "random"}, "unknown values"),
    ({"dtype": "float16"}, "unknown dtype"),
    ({"layers": ()}, "without layers"),
    ({"batch": 0}, "batch=0"),
    ({"input_shape": (0,)}, "integers of at least 1"),
    ({"learning_rate": float("nan")}, "finite"),
    ({"layers": (layer("dense", units=3), layer("conv2d", channels=3))}, "layer 1: conv2d"),
    ({"layers": (layer("embedding", units=3),)}, "vocabulary"),
    ({"vocabulary": 4}, "vocabulary"),
    ({"loss": "kl", "layers": (layer("dense", units=1),)}, "at least 2 classes"),
    ({"defects": (Defect(kind="gain", module="1"),)}, "allowed: '0', '2'|Allowed: '0', '2'"),
    ({"defects": (Defect(kind="gian", module="0"),)}, "Did you mean 'gain'"),
    ({"defects": (Defect(kind="gain", module="7"),)}, "Allowed: '0', '1', '2'"),
    ({"defects": (Defect(kind="gain", module="0", strength=float("inf")),)}, "finite"),
])
def test_what_cannot_be_built_is_refused(facts, message):
    architecture = DENSE.changed(**facts)
    for function in (shapes, lambda a: build(a, 0), lambda a: make_batch(a, 0), loss_function, optimizer_factory):
        with pytest.raises(UsageError, match=message):
            function(architecture)


@pytest.mark.parametrize("architecture", [DENSE, NESTED], ids=["dense", "nested"])
def test_an_architecture_survives_json(architecture):
    again = load(Architecture, json.loads(json.dumps(to_data(architecture))))
    assert again == architecture
    assert repr(again) == repr(architecture)
    assert bits(build(again, 0).parameters()) == bits(build(architecture, 0).parameters())


def test_the_repr_shows_what_is_not_the_default():
    assert repr(DENSE.changed(loss="mse")) == (
        "Architecture(input_shape=(3,), layers=(dense(units=4), relu(), dense(units=2)), loss='mse')"
    )
