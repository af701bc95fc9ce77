import math

import pytest
import torch

from gradcheck_suite.architectures.build import build
from gradcheck_suite.architectures.initializations import INITIALIZATIONS
from gradcheck_suite.core.architecture import Architecture, layer

# The part of a unit normal's variance that is left when it is cut at two standard deviations.
CUT = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))
VARIANCE = {
    "he-normal": lambda i, o: 2 / i,
    "he-uniform": lambda i, o: 2 / i,
    "he-normal-fan-out": lambda i, o: 2 / o,
    "he-uniform-fan-out": lambda i, o: 2 / o,
    "glorot-normal": lambda i, o: 2 / (i + o),
    "glorot-uniform": lambda i, o: 2 / (i + o),
    "lecun-normal": lambda i, o: 1 / i,
    "truncated-normal": lambda i, o: CUT * 2 / i,
    "orthogonal": lambda i, o: 1 / max(i, o),
}
# A layer, its input, and for each weight: blocks stacked in it, fan-in, fan-out.
LAYERS = [
    (layer("dense", units=80), (120,), {"weight": (1, 120, 80)}),
    (layer("conv1d", channels=60, kernel=5), (24, 9), {"weight": (1, 120, 300)}),
    (layer("conv2d", channels=60), (16, 9, 9), {"weight": (1, 144, 540)}),
    (layer("rnn", units=90), (4, 100), {"weight_ih_l0": (1, 100, 90), "weight_hh_l0": (1, 90, 90)}),
    (layer("lstm", units=50), (4, 70), {"weight_ih_l0": (4, 70, 50), "weight_hh_l0": (4, 50, 50)}),
    (layer("gru", units=50), (4, 70), {"weight_ih_l0": (3, 70, 50), "weight_hh_l0": (3, 50, 50)}),
    (layer("attention", heads=2), (4, 60), {"in_proj_weight": (3, 60, 60), "out_proj.weight": (1, 60, 60)}),
    (layer("encoder", heads=2, hidden=80), (4, 60), {"self_attn.in_proj_weight": (3, 60, 60), "linear1.weight": (1, 60, 80)}),
]


def built(one, shape, initialization):
    return build(Architecture(input_shape=shape, layers=(one,), initialization=initialization), 1)[0]


@pytest.mark.parametrize(("one", "shape", "weights"), LAYERS, ids=[one.kind for one, _, _ in LAYERS])
@pytest.mark.parametrize("name", VARIANCE)
def test_the_variance_is_that_of_the_law(name, one, shape, weights):
    module = built(one, shape, name)
    for path, (blocks, fan_in, fan_out) in weights.items():
        for block in module.get_parameter(path).detach().chunk(blocks):
            fans = (block[0].numel(), len(block)) if name == "orthogonal" else (fan_in, fan_out)
            # The mean square of n normal numbers has the relative deviation sqrt(2/n); the other laws have less.
            band = 5.5 * math.sqrt(2 / block.numel())
            assert block.square().mean().item() == pytest.approx(VARIANCE[name](*fans), rel=band)
    assert all(not p.any() for path, p in module.named_parameters() if "bias" in path and "norm" not in path)


def test_every_initialization_is_among_the_laws():
    assert set(INITIALIZATIONS) == {"torch-default", *VARIANCE}


@pytest.mark.parametrize(("one", "blocks"), [(layer("dense", units=8), 1), (layer("dense", units=30), 1), (layer("lstm", units=7), 4)])
def test_orthogonal_blocks_are_orthonormal(one, blocks):
    shape = (12,) if one.kind == "dense" else (4, 12)
    parameter = next(built(one, shape, "orthogonal").parameters()).detach()
    for block in parameter.chunk(blocks):
        small = block @ block.T if len(block) <= 12 else block.T @ block
        torch.testing.assert_close(small, torch.eye(len(small), dtype=torch.float64))


def test_uniform_and_truncated_weights_stay_within_their_bounds():
    one, shape = layer("dense", units=80), (120,)
    for name, bound in {
        "he-uniform": math.sqrt(6 / 120), "he-uniform-fan-out": math.sqrt(6 / 80), "glorot-uniform": math.sqrt(6 / 200),
        "truncated-normal": 2 * math.sqrt(2 / 120),
    }.items():
        largest = built(one, shape, name).weight.abs().max().item()
        assert 0.99 * bound < largest <= bound
    assert built(one, shape, "he-normal").weight.abs().max().item() > 3 * math.sqrt(2 / 120)


def test_fan_out_of_a_grouped_convolution_is_torchs():
    weight = built(layer("conv2d", channels=64, groups=8), (64, 9, 9), "he-normal-fan-out").weight
    assert weight.square().mean().item() == pytest.approx(2 / (64 * 9), rel=5.5 * math.sqrt(2 / weight.numel()))


def test_torch_default_is_what_the_constructor_draws():
    linear = built(layer("dense", units=80), (120,), "torch-default")
    assert linear.weight.square().mean().item() == pytest.approx(1 / 360, rel=5.5 * math.sqrt(2 / linear.weight.numel()))
    assert linear.bias.abs().max() > 0


def test_embeddings_and_norms_keep_their_own():
    layers = (layer("embedding", units=60), layer("layer_norm"), layer("prelu"))
    model = build(Architecture(input_shape=(3,), layers=layers, vocabulary=100, initialization="glorot-normal"), 0)
    assert model[0].weight.std().item() == pytest.approx(1, rel=0.06)
    assert (model[1].weight == 1).all()
    assert model[2].weight.item() == 0.25
