"""Activations, normalisations, skips: what is put where, and what they do to the gradient."""

import math

import pytest
import torch
from torch import nn

from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.remedies import remedy
from gradcheck_suite.remedies._modules import activated, fed, keeps_shape, last, rows
from tests.remedies.setups import gradient_factors, setup, stack


class Gated(nn.Module):
    """A model of one's own: a list of layers, an activation as an attribute, a gate in a sequence, an output function."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16)])
        self.act = nn.Tanh()
        self.gate = nn.Sequential(nn.Linear(16, 16), nn.Sigmoid())
        self.head = nn.Linear(16, 3)
        self.out = nn.Sigmoid()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.out(self.head(self.act(x) * self.gate(x)))


class Branches(nn.Sequential):
    """A sequence by its class, not by what it does."""

    def forward(self, x):
        return sum(branch(x) for branch in self)


def names(pairs):
    return [tuple(path for path, _ in pair) for pair in pairs]


def test_rows_are_sequences_unrolled_and_lists_but_no_branches():
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Branches(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4))
    assert [[path for path, _ in row] for row in rows(model)] == [["0.0", "0.1", "1", "2"]]
    assert [[path for path, _ in row] for row in rows(Gated())] == [["layers.0", "layers.1", "layers.2"], ["gate.0", "gate.1"]]
    assert names(activated(Gated())) == [("layers.0", "layers.1"), ("gate.0", "gate.1")]
    assert names(fed(nn.Sequential(nn.ReLU(), nn.Dropout(), nn.Linear(4, 4), nn.Tanh()))) == [("0", "1", "2")]


def test_an_activation_used_twice_is_found_at_both_places():
    act = nn.Tanh()
    model = nn.Sequential(nn.Linear(16, 16), act, nn.Linear(16, 8), act, nn.Linear(8, 3))
    assert names(activated(model)) == [("0", "1"), ("2", "3")]
    remedy("batch-normalization")(setup(model))
    assert [model[index][0].num_features for index in (1, 3)] == [16, 8]


@pytest.mark.parametrize(("layer", "kept"), [
    (nn.Linear(4, 4), True), (nn.Linear(4, 5), False), (nn.Conv2d(4, 4, 3, padding=1), True), (nn.Conv2d(4, 4, 3), False),
    (nn.Conv1d(4, 4, 5, padding="same", dilation=2), True), (nn.Conv1d(4, 4, 5, padding=4, dilation=2), True),
    (nn.Conv2d(4, 4, 3, padding=1, stride=2), False), (nn.Conv2d(4, 8, 1), False), (nn.ReLU(), False),
])
def test_which_layers_keep_the_shape(layer, kept):
    assert keeps_shape(layer) is kept


def test_flat_activations_become_relus_but_gates_and_outputs_stay():
    model = remedy("relu-activation")(setup(Gated())).model
    assert isinstance(model.layers[1], nn.ReLU)
    assert isinstance(model.act, nn.ReLU)
    assert isinstance(model.gate[1], nn.Sigmoid)
    assert isinstance(model.out, nn.Sigmoid)
    assert last(model) == ("out", model.out)


def test_a_stack_of_sigmoids_becomes_one_that_keeps_the_gradient():
    torch.manual_seed(0)
    inputs, model = torch.randn(8, 64), stack(nn.Sigmoid, depth=12, width=64)
    first, end = gradient_factors(model, inputs, ["0", "22"])
    assert first / end < 0.25**11
    first, end = gradient_factors(remedy("relu-activation")(setup(model)).model, inputs, ["0", "22"])
    assert abs(2 * math.log(first / end)) < 6 * math.sqrt(5 * 11 / 64)


def test_relus_leak_and_let_dead_units_move():
    torch.manual_seed(0)
    model = stack(depth=1)
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    model(torch.randn(8, 16)).sum().backward()
    assert not model[0].weight.grad.any()
    remedy("leaky-relu-activation")(setup(model)).model(torch.randn(8, 16)).sum().backward()
    assert model[0].weight.grad.all()


@pytest.mark.parametrize("name", ["batch-normalization", "layer-normalization"])
def test_normalised_networks_do_not_feel_the_scale_of_their_weights(name):
    torch.manual_seed(0)
    inputs = torch.randn(8, 16)
    model = remedy(name)(setup(stack().double())).model
    before = model(inputs.double())
    with torch.no_grad():
        for layer in model[:-1]:
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(1024.0)
                layer.bias.mul_(1024.0)
    # what is left is the epsilon of 1e-5 beside a variance of about a thirtieth: relative changes of half of that per layer
    assert torch.allclose(model(inputs.double()), before, rtol=0, atol=4 * 1e-5 * 30)


def test_batch_normalisation_makes_a_plain_network_explode_and_layer_normalisation_does_not():
    torch.manual_seed(0)
    growth = {}
    for name in ("batch-normalization", "layer-normalization"):
        factors = []
        for _ in range(4):
            model = remedy(name)(setup(stack(depth=24, width=64))).model
            first, end = gradient_factors(model, torch.randn(16, 64), ["8", "44"])
            factors.append(2 * math.log(first / end) / 18)
        growth[name] = sum(factors) / 4
    assert abs(growth["batch-normalization"] - math.log(1.5963)) < 0.06  # Yang et al. 2019 at a batch of 16; finite width takes 0.02
    # 1 per layer, less about 4 / width for the width and the biases; the mean of four draws scatters by 0.04
    assert abs(growth["layer-normalization"] + 4 / 64) < 5 * 0.04


@pytest.mark.parametrize(("model", "inputs"), [
    (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1), nn.ReLU()), torch.randn(4, 2, 9)),
    (nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()), torch.randn(4, 2, 9, 9)),
    (nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1), nn.ReLU()), torch.randn(4, 2, 5, 5, 5)),
    (nn.Sequential(nn.Linear(6, 4), nn.SiLU(), nn.Linear(4, 4), nn.Tanh()), torch.randn(4, 7, 6)),
    (nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()).double(), torch.randn(4, 6, dtype=torch.float64)),
])
@pytest.mark.parametrize("name", ["batch-normalization", "layer-normalization", "residual-connections"])
def test_changed_models_run_on_every_kind_of_input(name, model, inputs):
    changed = remedy(name)(setup(nn.Sequential(*model), inputs)).model
    output = changed(inputs)
    assert output.shape == model(inputs).shape if name == "residual-connections" else output.isfinite().all()
    assert output.dtype == inputs.dtype


def test_new_modules_run_in_the_mode_of_those_they_replace():
    model = remedy("batch-normalization")(setup(stack().eval())).model
    assert not any(module.training for module in model.modules())


def test_a_skip_leaves_the_input_in_the_output():
    torch.manual_seed(0)
    model = stack(nn.Sigmoid, depth=4)
    with torch.no_grad():
        for layer in model[2:-1:2]:
            layer.weight.zero_()
            layer.bias.zero_()
    inputs = torch.randn(8, 16)
    changed = remedy("residual-connections")(setup(model)).model
    assert torch.equal(changed(inputs), model[-1](torch.sigmoid(model[0](inputs))))
    assert [changed[index].scale for index in (2, 4, 6)] == [1 / math.sqrt(3)] * 3


def test_a_gradient_cannot_vanish_along_skips():
    torch.manual_seed(0)
    inputs, model = torch.randn(8, 64), stack(nn.Sigmoid, depth=20, width=64)
    first, end = gradient_factors(remedy("residual-connections")(setup(model)).model, inputs, ["0", "38"])
    assert 0.9 < first / end < math.sqrt(math.e)


def test_the_last_activation_is_left_out():
    model = remedy("linear-output")(setup(nn.Sequential(nn.Linear(16, 3), nn.Sequential(nn.Sigmoid())))).model
    assert isinstance(model[1][0], nn.Identity)


@pytest.mark.parametrize(("name", "model"), [
    ("relu-activation", stack()), ("relu-activation", nn.Sequential(nn.Linear(4, 4), nn.Tanh())), ("relu-activation", nn.ReLU6()),
    ("leaky-relu-activation", stack(nn.Tanh)), ("leaky-relu-activation", nn.Sequential(nn.Linear(4, 4), nn.ReLU())),
    ("batch-normalization", nn.Linear(4, 4)), ("layer-normalization", nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())),
    ("residual-connections", nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))),
    ("linear-output", stack()), ("linear-output", nn.Sigmoid()),
])
def test_where_there_is_nothing_to_change_it_is_not_applicable(name, model):
    with pytest.raises(NotApplicable):
        remedy(name)(setup(model))
