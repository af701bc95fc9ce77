"""The whole model in place: losses, cotangents, hooks on parameters, ties, random layers, batches."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm

from gradcheck_suite.core.errors import NotApplicable, SubjectError
from tests.probes.directional_derivative.models import Formula, blamed, captured, sine, statuses, subject


def mlp(*layers):
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *layers, nn.Linear(4, 2))


def test_a_right_model_with_a_loss_agrees_everywhere():
    capture = captured(subject(mlp, torch.randn(5, 3), loss=nn.functional.cross_entropy, targets=torch.tensor([0, 1, 0, 1, 1])))
    assert statuses(capture) == {"agrees"}
    assert capture.places[-1].role == "whole"
    assert capture.converted is False


def test_a_loss_function_is_named_with_its_line():
    def half_detached(output, targets):
        return ((output - targets) ** 2 / (1 + output.detach() ** 2)).sum()

    capture = captured(subject(mlp, torch.randn(5, 3), loss=half_detached, targets=torch.randn(5, 2)))
    (place,) = (place for place in capture.places if place.blamed)
    assert place.module == ""
    assert place.function.endswith("half_detached")
    assert "test_whole.py:" in place.source


def test_modules_of_a_loss_are_under_loss():
    def weighted(module, output, targets):
        return ((output - targets) ** 2 * module.weight / module.weight.detach()).sum()

    loss = Formula(weighted, weight=nn.Parameter(torch.ones(2)))
    capture = captured(subject(mlp, torch.randn(5, 3), loss=loss, targets=torch.randn(5, 2)))
    assert blamed(capture) == ["loss"]


def test_a_hook_on_a_parameter_is_part_of_the_gradient():
    def make():
        model = mlp()
        model[0].weight.register_hook(lambda gradient: 0.9 * gradient)
        return model

    capture = captured(subject(make, torch.randn(5, 3)))
    assert blamed(capture) == ["0"]
    assert capture.places[0].breakdown[0].name == "weight"


def test_tied_weights_count_once():
    def make():
        model = mlp(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        model[4].weight = model[2].weight
        return model

    assert statuses(captured(subject(make, torch.randn(5, 3)))) == {"agrees"}


@pytest.mark.parametrize("layer", [
    nn.Dropout, nn.AlphaDropout, nn.RReLU, lambda: nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4, momentum=None),
    lambda: parametrizations.spectral_norm(nn.Linear(4, 4)), lambda: spectral_norm(nn.Linear(4, 4)),
    lambda: parametrizations.weight_norm(nn.Linear(4, 4)), lambda: parametrizations.orthogonal(nn.Linear(4, 4)),
])
@pytest.mark.parametrize("training", [True, False])
def test_random_and_stateful_layers(layer, training):
    capture = captured(subject(lambda: mlp(layer()).train(training), torch.randn(6, 3)))
    assert statuses(capture) <= {"agrees", "nothing"}
    assert capture.places[-1].status == "agrees"


@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_layer_with_a_mask(training):
    def make():
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        mask = nn.Transformer.generate_square_subsequent_mask(4)
        return Formula(lambda m, x: m.layer(x, src_mask=mask, is_causal=True), layer=layer).train(training)

    assert statuses(captured(subject(make, torch.randn(2, 4, 8)))) == {"agrees"}


def test_nested_inputs_and_outputs():
    def forward(module, batch, *, scale):
        return {"scores": [module.part(batch["x"][0]) * scale], "none": None, "count": batch["n"]}

    batch = {"x": [torch.randn(4, 3)], "n": 3, "ids": torch.arange(4)}
    capture = captured(subject(lambda: Formula(forward, part=nn.Linear(3, 2)), batch, kwargs={"scale": 2.0}))
    assert statuses(capture) == {"agrees"}
    assert any("ids" in what for _, what in capture.skipped)


def test_a_target_network_and_scaled_data_are_no_fault():
    def forward(module, x):
        x = (x - x.mean().item()) / x.detach().std()
        with torch.no_grad():
            target = module.teacher(x)
        return ((module.student(x) - target) ** 2).mean()

    capture = captured(subject(lambda: Formula(forward, student=mlp(), teacher=mlp().requires_grad_(False)), torch.randn(5, 3)))
    assert blamed(capture) == []
    assert capture.places[-1].status == "agrees"


def test_a_detached_state_is_a_fault_of_the_model_itself():
    def forward(module, x):
        state = torch.zeros(x.shape[0], 4, dtype=x.dtype)
        for step in range(4):
            state = module.cell(x[:, step], state)
            if step == 1:
                state = state.detach()
        return module.head(state)

    capture = captured(subject(lambda: Formula(forward, cell=nn.GRUCell(2, 4), head=nn.Linear(4, 2)), torch.randn(3, 4, 2)))
    assert blamed(capture) == [""]


def test_an_output_that_is_detached_by_mistake():
    def forward(module, x):
        hidden = torch.tanh(module.part(x))
        return module.head(hidden), hidden.detach()

    def make():
        return Formula(forward, part=nn.Linear(3, 4), head=nn.Linear(4, 2))

    (place,) = (place for place in captured(subject(make, torch.randn(5, 3))).places if place.blamed)
    assert place.role == "outputs"
    loss = captured(subject(make, torch.randn(5, 3), loss=lambda output, _: output[0].sum()))
    assert blamed(loss) == []


def test_a_number_to_log_is_not_an_output():
    def forward(module, x):
        y = module.part(x)
        return y, y.detach().mean()

    assert blamed(captured(subject(lambda: Formula(forward, part=nn.Linear(3, 4)), torch.randn(5, 3)))) == []


def test_what_a_function_calls_constant_for_data_is_no_fault():
    class Message(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, adjacency):
            ctx.save_for_backward(adjacency)
            return adjacency @ x

        @staticmethod
        def backward(ctx, gradient):
            return ctx.saved_tensors[0].T @ gradient, None

    def make():
        return Formula(lambda m, x, adjacency: Message.apply(m.part(x), adjacency), part=nn.Linear(3, 2))

    assert blamed(captured(subject(make, torch.randn(4, 3), torch.rand(4, 4)))) == []


def test_nothing_to_compare_is_said():
    frozen = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)).requires_grad_(False)
    with pytest.raises(NotApplicable, match="nothing to compare"):
        captured(subject(lambda: frozen, torch.tensor([0, 3])))
    assert not captured(subject(mlp, torch.randn(0, 3))).compared


def test_without_parameters_the_inputs_are_compared_in_place():
    capture = captured(subject(lambda: nn.Sequential(sine(), nn.Tanh()), torch.randn(4, 3)))
    assert statuses(capture) == {"agrees"}


def test_failures_of_the_subject_keep_their_message_and_stage():
    def refuse(output, targets):
        raise ArithmeticError("the loss refused")

    with pytest.raises(SubjectError, match="the loss refused") as caught:
        captured(subject(mlp, torch.randn(5, 3), loss=refuse))
    assert caught.value.stage == "loss"

    def fail(module, x):
        raise ZeroDivisionError("inside")

    with pytest.raises(SubjectError, match="inside") as caught:
        captured(subject(lambda: nn.Sequential(nn.Linear(3, 4), Formula(fail)), torch.randn(5, 3)))
    assert (caught.value.stage, caught.value.module) == ("forward", "1")


def test_the_same_seed_gives_the_same_numbers():
    made = subject(lambda: mlp(nn.Dropout(), nn.ReLU()), torch.randn(5, 3))
    first, second, other = (captured(made, seed) for seed in (1, 1, 2))
    assert first == second
    assert first.places[-1].analytic != other.places[-1].analytic
