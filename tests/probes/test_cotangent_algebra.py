"""Cotangent algebra: right networks scale and add exactly, wrong backward passes are found and placed."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gradcheck_suite.captures.codec import decode, encode
from gradcheck_suite.captures.gradient_rows import Rows
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable
from gradcheck_suite.numerics.rounding import is_rounding, largest, resolution, tolerance
from gradcheck_suite.probes.cotangent_algebra import cotangent_algebra
from gradcheck_suite.probes.gradient_rows import Graph, differing_bits
from gradcheck_suite.subject import Batch, Setup, Subject


class Clip(torch.autograd.Function):
    """The identity with a clipped gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(-0.5, 0.5)


class Clipped(nn.Module):
    def forward(self, x):
        return Clip.apply(x)


class Once(torch.autograd.Function):
    """Doubling that forgets what it saved after one backward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.used = False
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        if ctx.used:
            raise RuntimeError("Trying to backward through the graph a second time")
        ctx.used = True
        return 2 * gradient


class Single(nn.Module):
    def forward(self, x):
        return Once.apply(x)


def capture(make, dtype=torch.float64):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(make().to(dtype), Batch((torch.randn(5, 4, dtype=dtype),)))

    return cotangent_algebra(Subject("model", setup), BUDGETS["quick"], 0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_right_networks_scale_exactly_and_add_to_rounding(dtype):
    seen = capture(lambda: nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2, eps=1e-12), nn.Tanh(), nn.Linear(2, 3)), dtype)
    assert seen.bits.sum() == 0
    assert seen.subnormal.sum() == 0
    allowed = [tolerance(*row) for row in zip(seen.epsilon, seen.scale, seen.noise, strict=True)]
    assert (seen.residual <= np.array(allowed)).all()
    again = decode(encode(seen))
    np.testing.assert_array_equal(again.noise, seen.noise)
    assert again.rows == seen.rows


def test_clipping_is_found_behind_the_last_right_layer():
    seen = capture(lambda: nn.Sequential(nn.Linear(4, 6), Clipped(), nn.Tanh(), nn.Linear(6, 3)))
    wrong = (seen.bits > 0).tolist()
    assert seen.rows.suspect(wrong).module == "1"
    residual = seen.residual > 1e-3 * np.where(seen.scale > 0, seen.scale, 1)
    assert seen.rows.suspect(residual.tolist()).module == "1"
    right_parameters = [name for name, bad in zip(seen.rows.names, wrong, strict=True) if not bad]
    assert "3.weight" in right_parameters
    assert "0.weight" not in right_parameters


class Fork(nn.Module):
    """Two uses of one tensor; the one that is called first is clipped, the other is right."""

    def __init__(self):
        super().__init__()
        self.body, self.clipped, self.head = nn.Linear(4, 4), Clipped(), nn.Linear(4, 2)

    def forward(self, x):
        y = self.body(x)
        return self.clipped(y).sum() + self.head(y).sum()


def test_the_place_is_the_node_that_breaks_the_law_not_its_neighbour():
    seen = capture(Fork)
    assert [(place.module, place.function) for place in seen.breaks] == [("clipped", "Clip")]
    assert seen.breaks[0].source.endswith(f"test_cotangent_algebra.py:{Clip.backward.__code__.co_firstlineno}")
    assert seen.suspect((seen.bits > 0).tolist()) == seen.breaks[0]
    assert decode(encode(seen)).breaks == seen.breaks


@pytest.mark.parametrize("name", ["Clip", "clipped"])
def test_what_is_declared_is_said_and_not_judged(name):
    def setup(seed):
        torch.manual_seed(seed)
        return Setup(Fork().double(), Batch((torch.randn(5, 4, dtype=torch.float64),)), intended={name: "clipped on purpose"})

    seen = cotangent_algebra(Subject("model", setup), BUDGETS["quick"], 0)
    assert seen.bits.sum() > 0
    assert seen.declared() == "intended mismatch, declared: clipped on purpose"
    assert capture(Fork).declared() is None


def test_what_runs_a_module_again_is_named_not_the_module():
    seen = capture(Fork)
    again = dataclasses.replace(seen, rows=dataclasses.replace(seen.rows, replayed=("clipped",)))
    wrong = (seen.bits > 0).tolist()
    assert again.suspect(wrong) == again.rows.suspect(wrong)
    assert seen.suspect([False] * len(wrong)) == seen.rows.suspect([False] * len(wrong))


def exponential(scale):
    class Rotation(nn.Module):
        def __init__(self):
            super().__init__()
            self.skew = nn.Parameter(scale * torch.randn(4, 4, dtype=torch.float64))

        def forward(self, x):
            return x @ torch.linalg.matrix_exp(self.skew - self.skew.T)

    return lambda: nn.Sequential(Rotation(), nn.Linear(4, 3))


@pytest.mark.parametrize("scale", [1e-3, 0.03, 0.1, 0.3, 1.0])
def test_the_series_of_a_matrix_exponential_follows_the_cotangent_and_is_not_blamed(scale):
    assert capture(exponential(scale)).bits.sum() == 0


def test_some_series_do_change():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradcheck_suite.probes.cotangent_algebra.ADAPTIVE", frozenset())
        seen = [capture(exponential(scale)) for scale in (1e-3, 0.03, 0.1, 0.3, 1.0)]
    assert any(one.bits.sum() for one in seen)
    assert {place.function for one in seen for place in one.breaks} == {"linalg_matrix_exp"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rounding_in_place_of_a_zero_gradient_follows_the_precision(dtype):
    seen = capture(lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), Clipped(), nn.Linear(6, 3)), dtype)
    epsilon = torch.finfo(dtype).eps
    other = torch.finfo(torch.float32 if dtype == torch.float64 else torch.float64).eps
    bias, weight = seen.rows.names.index("0.bias"), seen.rows.names.index("1.weight")
    assert seen.residual[bias] > largest(epsilon) * seen.scale[bias]
    assert is_rounding(seen.residual[bias], epsilon, seen.other_residual[bias], other)
    assert seen.residual[weight] > largest(epsilon) * seen.scale[weight]
    assert not is_rounding(seen.residual[weight], epsilon, seen.other_residual[weight], other)


def test_the_other_precision_is_asked_only_in_doubt():
    seen = capture(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))
    assert np.isnan(seen.other_residual).all()
    assert not is_rounding(1.0, 2.0**-52, float("nan"), 2.0**-23)


def test_a_graph_for_one_use_is_not_judged():
    with pytest.raises(NotApplicable, match="twice"):
        capture(lambda: nn.Sequential(nn.Linear(4, 3), Single()))


def test_bits_are_counted_and_signed_zeros_are_equal():
    one = torch.tensor([1.0, 0.0, 2.0])
    assert differing_bits(one, torch.tensor([1.0, -0.0, 2.0])) == 0
    assert differing_bits(one, torch.tensor([1.0, 0.0, 4.0])) == 1
    assert differing_bits(one.double(), -one.double()) == 2


def test_the_suspect_is_the_layer_behind_the_last_wrong_one():
    rows = Rows(names=("a", "b", "c", "input[0]", "b.weight"), roles=("layer",) * 3 + ("input", "parameter"), kinds=("A", "B", "C", "", ""))
    assert rows.suspect([True, False, False, True, False]).module == "b"
    assert rows.suspect([False, False, False, True, False]).module == "a"
    assert rows.suspect([False, False, False, False, True]).parameter == "weight"
    assert rows.suspect([True, True, True, True, True]).module == "c"


def test_tolerances_grow_with_noise_and_stay_below_what_nothing_explains():
    assert tolerance(2.0**-52, 1.0) == 32 * 2.0**-53
    assert tolerance(2.0**-52, 1.0, 1e-10) > 8e-10
    for epsilon in (2.0**-52, 2.0**-23):
        assert tolerance(epsilon, 1.0) < resolution(epsilon) < largest(epsilon) < 0.1


class Steep(nn.Module):
    """A chain whose gradients leave float32's range on their way, and come back."""

    def forward(self, x):
        return torch.sin(x * 1e21) * 1e-21 * 1e-21


def test_numbers_out_of_float32s_range_on_the_way_are_no_wrong_gradient():
    x = torch.randn(4, 3)
    graph = Graph.record(Setup(Steep(), Batch((x,))))
    small, large = graph.pull([torch.ones(4, 3)]), graph.pull([torch.full((4, 3), 8.0)])
    assert differing_bits(8 * small[-1], large[-1])
    found = cotangent_algebra(Subject("steep", lambda seed: Setup(nn.Sequential(Steep()), Batch((x,)))), BUDGETS["quick"], 0)
    assert not found.bits.any()


def test_a_layer_that_the_backward_pass_runs_again_is_named_by_the_module_that_runs_it():
    rows = Rows(names=("body.0", "body.1", "head"), roles=("layer",) * 3, kinds=("Linear",) * 3, replayed=("body.0", "body.1"))
    assert rows.suspect([True, False, False]).module == "body"
    assert rows.suspect([True, True, False]).module == "head"
