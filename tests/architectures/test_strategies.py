import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gradcheck_suite.architectures import strategies
from gradcheck_suite.architectures.build import build, loss_function, make_batch
from gradcheck_suite.architectures.defects import DEFECTS
from gradcheck_suite.architectures.domain import FLOW, FORMS
from gradcheck_suite.architectures.kinds import KINDS
from gradcheck_suite.architectures.losses import LOSSES
from gradcheck_suite.architectures.strategies import architectures, batches
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.schema import load


def drawn(number, **options):
    """Architectures that the strategy draws, the same at every run; a rejected draw is an error."""
    found = []

    @settings(max_examples=number, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=[HealthCheck.too_slow])
    @given(architectures(**options))
    def collect(architecture):
        found.append(architecture)

    collect()
    return found


def differentiate(architecture):
    """Build, run and differentiate once."""
    model, batch = build(architecture, 0), make_batch(architecture, 0)
    (x,) = batch.args
    if x.is_floating_point():
        x.requires_grad_()
    value = loss_function(architecture)(model(x), batch.targets)
    assert value.dim() == 0
    if x.is_floating_point() or any(parameter.requires_grad for parameter in model.parameters()):
        value.backward()


DOMAINS = [
    {},
    {"dtype": "float32"},
    {"losses": ("cross-entropy", "nll", "kl"), "width": (1, 2)},
    {"kinds": ("dense", "relu"), "depth": (10, 12), "width": (4, 48)},
    {"kinds": ("conv2d", "residual", "concatenate", "batch_norm", "flatten", "max_pool", "dense"), "input_kinds": ("image",)},
    {"kinds": ("instance_norm", "group_norm", "adaptive_avg_pool"), "width": (1, 1), "batch": (1, 1)},
    {"kinds": ("batch_norm", "upsample", "avg_pool", "global_avg_pool"), "batch": (1, 1), "depth": (4, 6)},
    {"kinds": ("embedding", "sequential", "lstm"), "depth": (3, 3)},
    {"training": False, "values": ("large", "one-hot")},
    *({"input_kinds": (form,)} for form in FORMS),
]


@pytest.mark.parametrize("options", DOMAINS, ids=str)
def test_every_drawn_architecture_can_be_differentiated_and_is_in_the_domain(options):
    for architecture in drawn(25, **options):
        differentiate(architecture)
        kinds = {found.kind for _, found in architecture.walk()}
        assert kinds <= set(options.get("kinds", KINDS))
        low, high = options.get("depth", (1, 8))
        assert low <= architecture.depth <= high
        low, high = options.get("batch", (1, 6))
        assert low <= architecture.batch <= high
        assert architecture.dtype == options.get("dtype", "float64")
        assert architecture.loss in options.get("losses", LOSSES)
        assert architecture.training is not True or options.get("training", True)


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_asked_for_is_planted_where_it_fits(kind):
    for architecture in drawn(15, defects=(kind,), depth=(1, 4)):
        (defect,) = architecture.defects
        assert defect.kind == kind
        assert defect.strength in DEFECTS[kind].strengths
        differentiate(architecture)


@pytest.mark.parametrize("kind", ["detached", "frozen"])
def test_a_gradient_is_left_where_the_graph_is_cut(kind):
    for architecture in drawn(20, defects=(kind,)):
        model, batch = build(architecture, 0), make_batch(architecture, 0)
        loss_function(architecture)(model(*batch.args), batch.targets).backward()
        assert any(parameter.grad is not None for parameter in model.parameters())


def test_a_future_leak_is_planted_on_sequences_only():
    for architecture in drawn(30, defects=("future-leak",)):
        top = int(architecture.defects[0].module.partition(".")[0])
        assert all("signal" not in FLOW[one.kind] or "sequence" in FLOW[one.kind] for one in architecture.layers[: top + 1])


def test_every_kind_name_and_regime_is_drawn():
    found = drawn(800)
    assert {one.kind for architecture in found for _, one in architecture.walk()} == set(KINDS) - {"sequential", "repeated"}
    assert {architecture.loss for architecture in found} == set(LOSSES)
    assert {architecture.depth for architecture in found} == set(range(1, 9))
    assert {architecture.training for architecture in found} == {True, False}
    assert {len(architecture.input_shape) for architecture in found} == {1, 2, 3}


def test_nothing_is_filtered_or_assumed():
    folder = Path(strategies.__file__).parent
    for name in ("strategies", "drawing", "draws", "domain"):
        text = (folder / f"{name}.py").read_text(encoding="utf-8")
        assert "assume(" not in text
        assert ".filter(" not in text
        assert "reject(" not in text


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(architectures(defects=tuple(DEFECTS)))
def test_a_drawn_architecture_survives_json(architecture):
    again = load(Architecture, json.loads(json.dumps(to_data(architecture))))
    assert again == architecture
    assert repr(again) == repr(architecture)


@given(st.data())
@settings(max_examples=20, derandomize=True, database=None, deadline=None)
def test_batches_are_those_of_a_regime_and_a_seed(data):
    architecture = Architecture(input_shape=(30,), layers=(layer("dense", units=2),), loss="mse")
    batch = data.draw(batches(architecture, values=("zeros", "ties")))
    (x,) = batch.args
    assert x.shape == (4, 30)
    assert not x.any() or len(x.unique()) == 2
    assert batch.targets.shape == (4, 2)


def test_batches_of_an_unknown_regime_are_refused():
    architecture = Architecture(input_shape=(3,), layers=(layer("relu"),))
    with pytest.raises(UsageError, match="unknown values"):
        batches(architecture, values=("huge",))
    with pytest.raises(UsageError, match="no regimes"):
        batches(architecture, values=())


def test_a_draw_leaves_torch_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    drawn(5)
    assert torch.equal(torch.rand(1), expected)


@given(architecture=architectures(kinds=("dense", "relu", "tanh"), alternating=True, depth=(2, 3)))
def test_alternating_layers_take_turns(architecture):
    families = [layer.kind == "dense" for _, layer in architecture.walk()]
    assert families in ([True, False] * 2 + [True], [True, False] * 3 + [True])
    build(architecture, 0)


@given(architecture=architectures(kinds=("conv2d", "relu"), input_kinds=("image",), alternating=True, depth=(1, 2), defects=("gain",)))
def test_alternating_convolutions_can_carry_a_defect(architecture):
    assert architecture.defects
    build(architecture, 0)
