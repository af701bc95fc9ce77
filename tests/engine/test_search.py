"""A search says how many networks it drew, what it would have found, and how often it is wrong by chance; and it finds what is planted."""

import io
import math
from dataclasses import replace

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.core.architecture import Architecture, layer
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.events import Run
from gradcheck_suite.core.evidence import Evidence, Verdict
from gradcheck_suite.core.exhibits import SMALLEST_NETWORK, Table
from gradcheck_suite.core.finding import GENERATED
from gradcheck_suite.core.report import Report
from gradcheck_suite.engine.reach import Reaches, reach
from gradcheck_suite.engine.search import Tally, account, layers_of, search, unsearched
from gradcheck_suite.reporting.console import render

SMALL = replace(BUDGETS["quick"], examples=3)


def prop(name):
    return next(catalogue.load(entry) for entry in catalogue.entries() if entry.id == name)


def piece(low, high, error=0.5, unit="decades"):
    return Evidence(quantity="height", value=0.0, error=error, low=low, high=high, unit=unit)


@pytest.mark.parametrize(("low", "high", "smallest"), [
    (-2.0, 4.0, 3.0 + 1.0), (0.0, 3.0, 3.0 + 1.0), (-math.inf, 3.0, 4.0), (-3.0, math.inf, 4.0), (0.0, math.inf, 1.0), (0.0, 0.0, 1.0),
])
def test_the_reach_is_a_deviation_that_cannot_be_passed_over(low, high, smallest):
    evidence = piece(low, high)
    assert reach(evidence) == smallest
    start = 0.0 if low == 0 or math.isinf(high - low) else (low + high) / 2
    sign = -1.0 if math.isinf(high) else 1.0
    true = start + sign * 1.0001 * smallest
    for measured in (true - evidence.error, true + evidence.error):
        assert replace(evidence, value=measured).verdict is Verdict.VIOLATED


def test_reaches_tell_the_least_sharp_place_of_each_network():
    seen = Reaches()
    seen.add([piece(0.0, 1.0, 0.0), piece(0.0, 2.0, 0.0)])
    seen.add([piece(0.0, 5.0, 0.0)])
    seen.add([piece(0.0, 3.0, 0.0)])
    assert "more than 3 decades would have been found in half of the networks, by more than 5 decades in all" in seen.sentence()
    assert seen.table().rows == (("height", "decades", 3, 3.0, 5.0),)
    exact = Reaches()
    exact.add([piece(0.0, 0.0, 0.0)])
    assert exact.sentence() == "any deviation of the height would have been found"


@pytest.mark.parametrize(("name", "stochastic"), [("declared-weight-variance", True), ("gradient-power-of-two-scaling", False)])
def test_a_search_that_finds_nothing_says_what_it_would_have_found(name, stochastic):
    tally = Tally()
    (finding,) = search(prop(name), SMALL, 5, tally=tally)
    assert finding.verdict is Verdict.HOLDS
    assert finding.subject == GENERATED
    note = finding.evidence.note
    assert f"of {tally.examples} networks" in note
    assert "would have been found" in note
    assert tally.stochastic is stochastic
    assert (f"at most {tally.examples * SMALL.alpha:.1e}" in note) is stochastic
    titles = [exhibit.title for exhibit in finding.evidence.exhibits if isinstance(exhibit, Table)]
    assert {"Smallest deviation that would have been found", "Layers drawn"} <= set(titles)
    told = account([tally], SMALL)
    assert f"{tally.examples} networks for 1 statements" in told
    assert (f"at most {tally.examples * SMALL.alpha:.1e}" in told) is stochastic
    stream = io.StringIO()
    render(Report(run=Run(id="x", command=(), seed=5, budget="quick", versions={}), subjects=(), findings=(finding,), summary={}), stream)
    assert f"{name}: Not falsified" in stream.getvalue()


def test_a_planted_fault_is_found_in_a_small_network():
    (finding,) = search(prop("outer-product-gradient"), replace(SMALL, examples=20), 1, defects=("scaled-row",))
    assert finding.verdict is Verdict.VIOLATED
    assert "Smallest network found" in finding.message
    assert "Architecture(" not in finding.message
    first, *_, script = finding.evidence.exhibits
    assert "dense(units=" not in script.title
    assert first.title == SMALLEST_NETWORK
    assert "dense(units=" in first.text
    assert "planted in" in first.text


def test_progress_is_told_for_every_network_and_places_are_those_where_it_holds():
    ticks, tally = [], Tally()
    (finding,) = search(prop("positive-homogeneity"), replace(SMALL, examples=12), 0, tick=lambda: ticks.append(1), tally=tally)
    assert finding.verdict is Verdict.HOLDS
    assert len(ticks) == tally.examples
    assert finding.places == tally.verdicts[Verdict.HOLDS] < tally.examples
    assert f"it holds in {finding.places} of {tally.examples} networks" in finding.evidence.note


def test_a_smaller_budget_draws_fewer_networks():
    assert BUDGETS["quick"].examples < BUDGETS["standard"].examples < BUDGETS["thorough"].examples


def test_a_property_without_a_domain_says_that_it_was_not_searched():
    finding = unsearched(prop("optimizer-coverage"))
    assert (finding.verdict, finding.subject, finding.evidence) == (Verdict.NOT_APPLICABLE, GENERATED, None)
    assert finding.reason.startswith("not searched")


def test_a_network_is_told_as_a_list_of_its_layers():
    network = Architecture(input_shape=(3,), batch=2, layers=(layer("residual", layer("dense", units=3)), layer("relu")), loss="mse")
    assert layers_of(network).splitlines() == ["input  2 × 3", "0      residual", "0.0    dense(units=3)", "1      relu()", "loss: mse"]
