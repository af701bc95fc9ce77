"""The score: what counts as found, placed and accused, and the peers' answers."""

from functools import partial
from pathlib import Path

import pytest

from gradcheck_suite.core.evidence import Where

from . import score
from .corpus import CASES, CONTROLS
from .outcomes import Kept, Outcome

ROOT = Path(__file__).parents[2]
BY_ID = {entry.id: entry for entry in score.entries()}
WRONG, RIGHT = BY_ID["dense/weight-one-percent"], BY_ID["dense/weight-one-percent/twin"]


def outcome(entry=WRONG, accused=True, *places, seed=0, error=""):
    return Outcome(entry=entry, seed=seed, accused=accused, places=places, accusers=("agreement",) * len(places), error=error)


def test_entries_hold_every_case_with_its_twin_and_every_control():
    kinds = [entry.kind for entry in BY_ID.values()]
    witnessed = sum(case.witness is not None and case.inputs_need_gradient for case in CASES)
    assert kinds.count("bug") == kinds.count("twin") == len(CASES) + witnessed
    assert kinds.count("control") == len(CONTROLS)
    assert {entry.row for entry in BY_ID.values() if entry.kind == "bug"} == set(score.ROWS)


def test_the_place_must_be_the_module_itself():
    here, above = Where(module="blocks.1.contract"), Where(module="blocks.1")
    assert outcome(WRONG, True, here).placed
    assert not outcome(WRONG, True, above).named
    assert outcome(WRONG, True, here, above).placed
    assert outcome(WRONG, True, here, Where(module="")).placed
    assert not outcome(WRONG, True, here, Where(module="blocks.1.expand")).placed
    assert not outcome(WRONG, True, here, Where(module="blocks.1.con")).placed
    assert not outcome(WRONG, True).placed
    assert outcome(WRONG, True, Where(module="x", function="WeightOnePercent")).function


def test_a_column_counts_bugs_by_class_and_right_models_apart():
    found = outcome(WRONG, True, Where(module="blocks.1.contract", function="WeightOnePercent"))
    missed = outcome(BY_ID["dense/tile-remainder"], False)
    cells = score.rows([found, missed, outcome(RIGHT, False), outcome(BY_ID["kinks/hard-tanh"], True)])
    assert cells["found, at the given input"] == "1 of 1"
    assert cells["found, configuration"] == "0 of 1"
    assert cells["found, second order"] == "–"
    assert cells["found, all"] == "1 of 2"
    assert cells["module exact"] == cells["function named"] == "1 of 1"
    assert cells["accused, twins"] == "0 of 1"
    assert cells["accused, controls at kinks"] == "1 of 1"
    assert cells["accused, all correct float64 models"] == "1 of 2"


def test_a_bug_whose_twin_is_accused_too_is_not_told_apart():
    both = [outcome(WRONG, True, seed=3), outcome(RIGHT, True, seed=3)]
    cells = score.rows([*both, outcome(WRONG, True, seed=4), outcome(RIGHT, False, seed=4)])
    assert cells["found, all"] == "2 of 2"
    assert cells["found, all, the twin not accused"] == "1 of 2"


def test_what_failed_is_listed():
    lines = score.misses([outcome(WRONG, False), outcome(WRONG, True, Where(module="head")), outcome(RIGHT, True, Where(module="stem")),
                          outcome(RIGHT, False, error="no")])
    assert [line.split(":")[0] for line in lines] == ["missed", "misplaced", "accused", "failed"]


def test_a_judge_that_raises_accuses_nobody_and_is_recorded(capsys):
    def judge(entry, seed):
        raise ValueError("broken")

    (one,) = score.measure(judge, [WRONG], [0])
    assert not one.accused
    assert one.error == "ValueError: broken"
    assert capsys.readouterr().err == "!"


def test_what_is_kept_is_not_judged_again(tmp_path):
    asked = []

    def judge(entry, seed):
        asked.append(seed)
        return outcome(entry, True, Where(module="head", entry=(1, 2)), seed=seed)

    kept = partial(Kept, tmp_path / "outcomes.jsonl")
    first = score.measure(judge, [WRONG], [0], kept("tool"))
    assert score.measure(judge, [WRONG], [0, 1], kept("tool"))[:1] == first
    score.measure(judge, [WRONG], [0], kept("another"))
    assert asked == [0, 1, 0]


@pytest.mark.parametrize("fast", [False, True])
def test_the_peers_find_one_percent_and_pass_its_twin(monkeypatch, fast):
    monkeypatch.syspath_prepend(str(ROOT))
    assert score.peer(WRONG, 0, fast=fast).accused
    assert not score.peer(RIGHT, 0, fast=fast).accused


def test_the_slow_peer_is_run_twice_where_the_second_derivative_is_wrong(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    entry = BY_ID["second-order/slope-constant"]
    assert score.peer(entry, 0, fast=False).accused
    assert not score.peer(BY_ID["second-order/slope-constant/twin"], 0, fast=False).accused


def test_the_page_names_both_sides():
    page = score.document({"this tool": [outcome(WRONG, False), outcome(RIGHT, False)], "peer": [outcome(WRONG, True)]})
    assert "| found, all | 0 of 1 | 1 of 1 |" in page
    assert "- missed: dense/weight-one-percent, seed 0" in page
