import copy

import pytest
import torch

from gradcheck_suite.architectures.build import build, loss_function, make_batch
from gradcheck_suite.architectures.defects import DEFECTS, hosts
from gradcheck_suite.architectures.grammar import places
from gradcheck_suite.core.architecture import Architecture, Defect, layer

PLAIN = Architecture(
    input_shape=(4, 6),
    layers=(layer("dense", units=6), layer("tanh"), layer("attention", heads=2), layer("dense", units=3)),
    loss="mse",
    initialization="lecun-normal",
)


def run(architecture, model=None):
    """Output, gradient of the input, gradients of the parameters by name."""
    model = model or build(architecture, 0)
    batch = make_batch(architecture, 0)
    x = batch.args[0].requires_grad_()
    torch.manual_seed(0)
    output = model(x)
    loss_function(architecture)(output, batch.targets).backward()
    return output.detach(), x.grad, {name: p.grad for name, p in model.named_parameters()}


def planted(kind, module, strength=1.0):
    return PLAIN.changed(defects=(Defect(kind=kind, module=module, strength=strength),))


BEHIND = {"0.weight", "0.bias", "2.in_proj_weight", "2.in_proj_bias", "2.out_proj.weight", "2.out_proj.bias"}
AHEAD = {"3.weight", "3.bias"}


@pytest.mark.parametrize(("kind", "strength", "factor"), [("scaled-backward", 1.5, 1.5), ("sign-flip", 2.0, -2.0)])
def test_a_factor_on_the_gradient_reaches_all_that_is_behind(kind, strength, factor):
    output, x, gradients = run(planted(kind, "2", strength))
    expected_output, expected_x, expected = run(PLAIN)
    assert torch.equal(output, expected_output)
    torch.testing.assert_close(x, factor * expected_x)
    for name in BEHIND:
        torch.testing.assert_close(gradients[name], factor * expected[name])
    for name in AHEAD:
        assert torch.equal(gradients[name], expected[name])


GRADIENT_AT_OUTPUT = {
    "scaled-row": lambda g: torch.cat([3 * g[..., :1], g[..., 1:]], -1),
    "swapped-samples": lambda g: g[[3, 0, 1, 2]],
    "ignored-upstream": lambda g: torch.full_like(g, 3.0),
    "detached-backward": lambda g: g,
    "scaled-single-sample": lambda g: g,
    "narrow-gradient": lambda g: g,
}


@pytest.mark.parametrize("kind", GRADIENT_AT_OUTPUT)
def test_the_gradient_that_passes_is_changed_as_said(kind):
    module = build(Architecture(input_shape=(5,), layers=(layer("identity"),), defects=(Defect(kind=kind, module="0", strength=3.0),)), 0)
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(module(x), x, upstream)
    assert torch.equal(gradient, GRADIENT_AT_OUTPUT[kind](upstream))


def identity(kind, strength=3.0, dtype=torch.float64):
    defects = (Defect(kind=kind, module="0", strength=strength),)
    return build(Architecture(input_shape=(5,), layers=(layer("identity"),), defects=defects), 0).to(dtype)


def test_one_sample_is_treated_otherwise_than_several():
    x = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(identity("scaled-single-sample")(x), x, torch.ones(1, 5, dtype=torch.float64))
    assert torch.equal(gradient, torch.full_like(gradient, 3.0))


def test_a_spoiled_upstream_is_passed_on_rightly_and_left_wrong():
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(4, 5, dtype=torch.float64)
    given = upstream.clone()
    (gradient,) = torch.autograd.grad(identity("spoiled-upstream")(x), x, given)
    assert torch.equal(gradient, upstream)
    assert torch.equal(given, 3 * upstream)


def test_a_narrow_gradient_loses_digits_in_float32_alone():
    x = torch.randn(4, 5, requires_grad=True)
    upstream = torch.randn(4, 5)
    (gradient,) = torch.autograd.grad(identity("narrow-gradient", 1.0, torch.float32)(x), x, upstream)
    assert torch.equal(gradient, upstream.half().float())
    assert not torch.equal(gradient, upstream)


def test_a_half_island_keeps_eleven_bits():
    x = torch.randn(4, 5, dtype=torch.float64)
    assert torch.equal(identity("half-island")(x), x.half().double())


def test_a_detached_backward_has_no_second_derivative():
    for defects, differentiable in (((), True), ((Defect(kind="detached-backward", module="1"),), False)):
        model = build(Architecture(input_shape=(3,), layers=(layer("tanh"), layer("tanh")), defects=defects), 0)
        x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
        upstream = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(model(x), x, upstream, create_graph=True)
        (second,) = torch.autograd.grad(gradient.sum(), upstream, allow_unused=True)
        assert (second is not None) == differentiable


def test_noise_on_the_gradient_differs_from_call_to_call():
    model = build(planted("nondeterministic", "3", 0.1), 0)
    x = make_batch(PLAIN, 0).args[0].requires_grad_()
    first, second = (torch.autograd.grad(model(x).sum(), x)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=2.0, atol=1.0)
    assert not torch.equal(first, second)


def test_hooks_change_the_gradients_of_their_module_alone():
    *_, expected = run(PLAIN)
    *_, hooked = run(planted("parameter-hook", "0", 2.0))
    *_, entry = run(planted("scaled-entry", "0", 5.0))
    for name, gradient in expected.items():
        torch.testing.assert_close(hooked[name], (2 if name.startswith("0.") else 1) * gradient)
        factor = torch.ones_like(gradient)
        factor.view(-1)[0] = 5.0 if name == "0.weight" else 1.0
        assert torch.equal(entry[name], factor * gradient)


def test_what_is_detached_gets_no_gradient():
    output, x, gradients = run(planted("detached", "2"))
    assert torch.equal(output, run(PLAIN)[0])
    assert x is None
    assert {name for name, gradient in gradients.items() if gradient is None} == BEHIND


def test_what_is_frozen_gets_no_gradient():
    *_, gradients = run(planted("frozen", "2"))
    assert {name for name, gradient in gradients.items() if gradient is None} == {name for name in BEHIND if name.startswith("2.")}


def test_one_nan_forward_or_backward():
    output, *_ = run(planted("nan-forward", "3"))
    assert output.isnan().sum() == 1
    assert output[0, 0, 0].isnan()
    output, x, gradients = run(planted("nan-gradient", "3"))
    assert not output.isnan().any()
    assert x[0].isnan().any()
    assert not x[1:].isnan().any()
    assert gradients["3.bias"].isnan().tolist() == [True, False, False]


def test_a_wrong_axis_mixes_the_samples():
    output, *_ = run(planted("wrong-axis", "3"))
    expected = run(PLAIN)[0]
    torch.testing.assert_close(output, expected - expected.mean(0, keepdim=True))


def test_a_future_leak_shows_the_next_position():
    output, *_ = run(planted("future-leak", "3", 0.5))
    expected = run(PLAIN)[0]
    torch.testing.assert_close(output, expected + 0.5 * expected[:, [1, 2, 3, 0]])


def test_an_input_is_mutated_by_the_strength():
    model = build(planted("input-mutation", "0", 0.25), 0)
    x = make_batch(PLAIN, 0).args[0]
    before = x.clone()
    model(x)
    torch.testing.assert_close(x, before + 0.25)


def test_a_stateful_module_grows_with_every_call():
    model, x = build(planted("stateful", "3", 0.5), 0), make_batch(PLAIN, 0).args[0]
    expected = run(PLAIN)[0]
    for calls in range(3):
        torch.testing.assert_close(model(x).detach(), expected * 1.5**calls)


def test_a_missing_scale_multiplies_the_queries():
    expected = build(PLAIN, 0)[2]
    attention = build(planted("missing-scale", "2"), 0)[2]
    torch.testing.assert_close(attention.in_proj_weight[:6], 3**0.5 * expected.in_proj_weight[:6])
    assert torch.equal(attention.in_proj_weight[6:], expected.in_proj_weight[6:])


def test_a_hidden_offset_is_added():
    output, *_ = run(planted("hidden-offset", "3", 0.5))
    assert torch.equal(output, run(PLAIN)[0] + 0.5)


def test_parameters_drift_with_every_call():
    model, x = build(planted("drifting", "0", 0.25), 0), make_batch(PLAIN, 0).args[0]
    before = model[0].weight.detach().clone()
    for calls in (1, 2):
        model(x)
        torch.testing.assert_close(model[0].weight.detach(), before + 0.25 * calls)


@pytest.mark.parametrize("one", [layer("lstm", units=3), layer("encoder", heads=1, hidden=3), layer("residual", layer("dense", units=6))])
def test_unregistered_parameters_still_get_a_gradient(one):
    architecture = Architecture(input_shape=(4, 6), layers=(one,), defects=(Defect(kind="unregistered", module="0"),))
    model, x = build(architecture, 0), make_batch(architecture, 0).args[0]
    assert not list(model.parameters())
    model(x).sum().backward()
    plain = [value for module in model.modules() for value in vars(module).values() if isinstance(value, torch.Tensor)]
    assert plain
    assert all(value.grad is not None for value in plain)
    assert torch.equal(model(x), build(architecture.changed(defects=()), 0)(x))


@pytest.mark.parametrize(("kind", "weight", "bias"), [
    ("gain", lambda w: 3 * w, 0.0),
    ("constant-weights", lambda w: torch.full_like(w, 3 * w.square().mean().sqrt().item()), 0.0),
    ("zero-init", torch.zeros_like, 0.0),
    ("saturated", lambda w: w, -30.0),
])
def test_an_initialization_fault_changes_the_parameters_as_said(kind, weight, bias):
    expected, model = build(PLAIN, 0), build(planted(kind, "0", 3.0), 0)
    torch.testing.assert_close(model[0].weight, weight(expected[0].weight))
    assert (model[0].bias == bias).all()
    assert torch.equal(model[3].weight, expected[3].weight)


@pytest.mark.parametrize("kind", [kind for kind, fault in DEFECTS.items() if fault.needs not in ("buffer", "tokens")])
def test_names_stay_and_a_deep_copy_has_the_fault_too(kind):
    architecture = planted(kind, "2", 1.5)
    model = build(architecture, 0)
    expected = [name for name, _ in build(PLAIN, 0).named_parameters() if kind != "unregistered" or not name.startswith("2.")]
    assert [name for name, _ in model.named_parameters()] == expected
    assert isinstance(model[2], torch.nn.MultiheadAttention)
    if kind in ("parameter-hook", "scaled-entry", "shifted-gradient"):
        return  # a copy of a tensor has no hooks
    first, second = run(architecture, copy.deepcopy(model)), run(architecture, model)
    for one, other in zip([*first[:2], *first[2].values()], [*second[:2], *second[2].values()], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))


def test_every_defect_is_told_in_a_sentence():
    assert all(found.about.endswith(".") for found in DEFECTS.values())


def test_where_a_defect_fits():
    architecture = Architecture(
        input_shape=(3,),
        layers=(layer("embedding", units=4), layer("prelu"), layer("residual", layer("dense", units=4, bias=False)), layer("last_step")),
        vocabulary=5,
    )
    found = places(architecture)
    fitting = {kind: {path for path, place in found.items() if hosts(kind, place)} for kind in DEFECTS}
    assert fitting["scaled-backward"] == {"0", "1", "2", "2.0", "3"}
    assert fitting["gain"] == {"0", "2", "2.0"}
    assert fitting["parameter-hook"] == {"0", "1", "2", "2.0"}
    assert fitting["saturated"] == set()
    assert fitting["missing-scale"] == set()
    assert fitting["future-leak"] == {"0", "1", "2", "2.0"}
    assert fitting["input-mutation"] == {"1", "2", "2.0", "3"}
    assert fitting["ignored-padding"] == {"0"}


def test_ignored_padding_trains_the_row_that_stands_for_nothing():
    layers = (layer("embedding", units=3, padding=1), layer("tanh"))
    plain = Architecture(input_shape=(4,), vocabulary=2, layers=layers)
    for architecture, trained in ((plain, False), (plain.changed(defects=(Defect(kind="ignored-padding", module="0"),)), True)):
        model = build(architecture, 0)
        model(torch.tensor([[0, 1, 1, 0]])).sum().backward()
        assert model[0].weight.grad[0].any()
        assert bool(model[0].weight.grad[1].any()) == trained


def test_drifting_buffers_move_in_evaluation_mode_and_leave_the_gradient_right():
    layers = (layer("dense", units=3), layer("batch_norm"), layer("tanh"))
    defect = Defect(kind="drifting-buffers", module="1", strength=1.0)
    model = build(Architecture(input_shape=(2,), layers=layers, training=False, defects=(defect,)), 0)
    before = model[1].running_mean.clone()
    model(torch.ones(2, 2, dtype=torch.float64)).sum().backward()
    assert torch.equal(model[1].running_mean, before + 1)
