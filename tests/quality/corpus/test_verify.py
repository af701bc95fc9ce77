"""The corpus is what it says: bugs are wrong where they say, twins and controls are right, shown without the tool under test."""

from collections import Counter

import pytest
import torch

from . import CASES, CONTROLS, TRIGGERS, Case, Control
from .verify import differences, disagreement, double, made, moved, run, shown

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SEEDS = (0, 1)
ROUNDING = 1e-12
RIGHT = 1e-7


def named(items):
    return pytest.mark.parametrize("item", items, ids=lambda item: item.id)


@named(CASES)
def test_bug_and_twin_share_the_forward_pass_bit_for_bit(item: Case):
    for seed in SEEDS:
        bug, twin = run(made(item.bug, seed), seed), run(made(item.twin, seed), seed)
        assert torch.equal(bug.value, twin.value)
        assert len(bug.outputs) == len(twin.outputs)
        assert all(torch.equal(a, b) for a, b in zip(bug.outputs, twin.outputs, strict=True))


@named(CASES)
def test_the_gradients_differ_where_the_case_says_and_by_what_it_says(item: Case):
    for seed in SEEDS:
        found = differences(*(one.gradients for one in shown(item, seed)))
        worst = max(found.values(), default=0.0)
        assert worst == item.relative_size or item.relative_size / 30 < worst < item.relative_size * 30
        if item.parameter:
            assert set(found) == {f"{item.module}.{item.parameter}".lstrip(".")}


@named([case for case in CASES if case.needs in ("configuration", "input", "second order")])
def test_what_needs_a_change_is_right_without_it(item: Case):
    for seed in SEEDS:
        found = differences(run(made(item.bug, seed), seed).gradients, run(made(item.twin, seed), seed).gradients)
        assert max(found.values(), default=0.0) < ROUNDING


@named([case for case in CASES if case.needs == "precision"])
def test_what_needs_an_exact_reference_is_right_in_float64(item: Case):
    found = differences(run(double(made(item.bug, 0)), 0).gradients, run(double(made(item.twin, 0)), 0).gradients)
    assert max(found.values(), default=0.0) < ROUNDING


@named([case for case in CASES if case.needs != "precision"])
def test_twins_are_right_by_central_differences(item: Case):
    twin = made(item.twin, 0)
    assert disagreement(twin, 0, second=item.needs == "second order") < RIGHT
    if item.witness:
        assert disagreement(item.witness(made(item.twin, 0)), 0) < RIGHT


@named(CONTROLS)
def test_controls_are_right_by_central_differences(item: Control):
    for seed in SEEDS:
        made(item.build, seed)
        found = made(item.reference or item.build, seed)
        if item.kind == "declared":
            assert disagreement(found, seed) > 1e-3
            assert found["intended"]
        else:
            assert disagreement(moved(found, seed) if item.kind == "kink" else found, seed) < item.tolerance


def test_every_class_of_trigger_is_covered():
    assert {case.trigger for case in CASES} == set(TRIGGERS)
    needs = Counter(case.needs for case in CASES)
    assert all(needs[kind] >= 4 for kind in (None, "configuration", "input", "second order", "precision"))
    assert len(CASES) >= 60
    assert len(CONTROLS) >= 60


def test_names_are_unique_and_places_exist():
    assert len({item.id for item in (*CASES, *CONTROLS)}) == len(CASES) + len(CONTROLS)
    for case in CASES:
        model = made(case.bug, 0)["model"]
        assert model.get_submodule(case.module) is not None
        if case.parameter:
            assert dict(model.get_submodule(case.module).named_parameters())[case.parameter].requires_grad


def test_a_case_at_its_witness_shows_the_difference_there():
    witnessed = [case.at_witness() for case in CASES if case.witness and case.inputs_need_gradient]
    assert len(witnessed) >= 30
    for case in witnessed:
        found = differences(run(made(case.bug, 0), 0).gradients, run(made(case.twin, 0), 0).gradients)
        assert found, case.id
        assert case.needs is None
