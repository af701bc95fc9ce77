"""Remedies tried: what counts as help, which are tried, what becomes of failures."""

import math
from dataclasses import replace

import pytest

from gradcheck_suite.captures.codec import frozen
from gradcheck_suite.captures.training import Attempt, Training
from gradcheck_suite.core.budget import BUDGETS
from gradcheck_suite.core.errors import NotApplicable, SubjectError
from gradcheck_suite.core.evidence import Verdict, Where
from gradcheck_suite.core.finding import Finding, RemedyTrial
from gradcheck_suite.core.property import NoFailure
from gradcheck_suite.core.report import fold
from gradcheck_suite.core.serialize import to_data
from gradcheck_suite.core.text import effect, finding_text, trial_text
from gradcheck_suite.engine.check import check
from gradcheck_suite.engine.remedying import Remedies, distance, helps, matching, moved, outcome
from gradcheck_suite.engine.run import Plan, described, run
from gradcheck_suite.schema import load
from tests.engine.fakes import TableSource, evidence, property_of

BAND = {"low": -1.0, "high": 1.0}


class ChangeableSource(TableSource):
    """A source whose subject can be changed: a value for every remedy, or what is raised for it."""

    def __init__(self, value, **changed):
        super().__init__(probe=value)
        self.changed, self.opened = changed, []

    def remedied(self, remedy):
        self.opened.append(_Changed(self.changed[remedy.replace("-", "_")]))
        return self.opened[-1]


class _Changed(TableSource):
    def __init__(self, value):
        super().__init__(probe=value)
        self.value = value

    @property
    def facts(self):
        if isinstance(self.value, NotApplicable):
            raise self.value
        return self._facts

    @facts.setter
    def facts(self, value):
        self._facts = value


def measure(probe):
    return evidence(probe, **BAND)


def tried(source, prop, most=3):
    return Remedies(source, most).tried(prop, check(prop, source))


@pytest.mark.parametrize(("before", "after", "helped"), [
    ((9.0, 0.1), (0.0, 0.5), True),  # holds
    ((9.0, 0.1), (3.0, 0.1), True),  # much nearer
    ((9.0, 0.1), (-3.0, 0.1), True),  # nearer, on the other side
    ((9.0, 0.1), (7.0, 0.1), False),  # nearer, but not by half
    ((9.0, 4.0), (4.0, 2.0), False),  # nearer by half, but within the errors
    ((9.0, 0.1), (12.0, 0.1), False),
    ((9.0, 0.1), (9.0, 0.1), False),
    ((math.inf, 0.0), (5.0, 0.1), True),
    ((math.inf, 0.0), (math.inf, 0.0), False),
    ((9.0, 0.1), (math.nan, 0.0), False),
    ((9.0, 0.1), (0.0, math.inf), False),
])
def test_what_counts_as_help(before, after, helped):
    first, second = (evidence(value, error=error, **BAND) for value, error in (before, after))
    assert first.verdict is Verdict.VIOLATED
    assert helps(first, second) is helped


def test_the_distance_is_that_of_the_value_to_its_bounds():
    assert [distance(evidence(value, **BAND)) for value in (-3.0, 0.5, 2.0, -math.inf)] == [2.0, 0.0, 1.0, math.inf]
    assert math.isnan(distance(evidence(math.nan)))


def test_the_place_is_found_again_also_where_it_was_wrapped():
    def at(module, value=0.0, parameter=None, quantity="q"):
        return evidence(value, where=Where(module=module, parameter=parameter), quantity=quantity)

    before = at("4")
    assert matching(before, [at("2"), at("4", 1.0), at("4.1", 2.0)]).value == 1.0
    assert matching(before, [at("2"), at("4.0", 3.0), at("4.1", -7.0)]).value == -7.0
    assert matching(at("4", parameter="weight"), [at("4"), at("4.0", 5.0, "weight")]).value == 5.0
    assert matching(before, [at("40"), at("4", quantity="another")]) is None
    assert matching(before, [at("2", 8.0)]) is None
    assert matching(before, [at("2", 8.0)], only=True).value == 8.0
    assert matching(before, [at("2"), at("3")], only=True) is None
    assert matching(evidence(), [evidence(6.0)]).value == 6.0


def test_places_that_are_violated_then_are_counted():
    def at(module, value):
        return evidence(value, where=Where(module=module))

    assert moved([at("1", 5.0)], (at("1", 5.0), at("1.0", 5.0), at("2", 5.0), at("3", 0.0))) == 1


def test_remedies_are_tried_in_order_and_at_most_so_many():
    source = ChangeableSource(9.0, he_initialization=0.0, momentum=2.0, glorot_initialization=9.0, adam_optimizer=0.0)
    prop = property_of(measure, remedies=("he-initialization", "momentum", "glorot-initialization", "adam-optimizer"))
    (finding,) = tried(source, prop)
    told = [(trial.remedy, trial.verdict, trial.value, trial.helps) for trial in finding.remedies]
    assert told == [("he-initialization", Verdict.HOLDS, 0.0, True), ("momentum", Verdict.VIOLATED, 2.0, True),
                    ("glorot-initialization", Verdict.VIOLATED, 9.0, False)]
    text = finding_text(finding)
    assert "he-initialization helps (holds, 0 ± 0); momentum helps, not enough (violated, 2 ± 0)" in text
    assert "glorot-initialization does not help (violated, 9 ± 0)" in text
    assert finding.remedies[0].note == "Weights are drawn again with variance 2 / fan-in, biases are set to zero."
    assert "gradients that vanish or explode with depth" in finding.remedies[1].note
    assert load(Finding, to_data(finding)) == finding


def test_what_has_nothing_to_change_is_left_out_and_does_not_count():
    nothing = NotApplicable("no LSTM")
    source = ChangeableSource(9.0, forget_gate_bias=nothing, float32_precision=nothing, he_initialization=0.0)
    prop = property_of(measure, remedies=("forget-gate-bias", "float32-precision", "he-initialization"))
    (finding,) = tried(source, prop, most=1)
    assert [trial.remedy for trial in finding.remedies] == ["he-initialization"]
    assert [changed.closed for changed in source.opened] == [True, True, False]


def test_only_violated_findings_are_treated_each_at_its_place():
    def places(probe):
        return [evidence(value, where=Where(module=str(index)), **BAND) for index, value in enumerate(probe)]

    source = ChangeableSource((9.0, 8.0, 0.0), he_initialization=(0.0, 7.5, 6.0))
    findings = tried(source, property_of(places, remedies=("he-initialization",)))
    told = {finding.where.module: finding.remedies for finding in findings}
    assert [(trial.value, trial.helps) for trial in (*told["0"], *told["1"])] == [(0.0, True), (7.5, False)]
    assert told["2"] == ()
    assert "It is then violated in 1 other places." in told["0"][0].note


def test_where_nothing_is_violated_or_no_remedy_is_allowed_nothing_is_opened():
    prop = property_of(measure, remedies=("he-initialization",))
    for value, most in ((0.0, 3), (9.0, 0)):
        source = ChangeableSource(value, he_initialization=0.0)
        (finding,) = tried(source, prop, most)
        assert (finding.remedies, source.opened) == ((), [])


def test_a_source_that_cannot_be_changed_leaves_findings_as_they_are():
    source = TableSource(probe=9.0)
    (finding,) = tried(source, property_of(measure, remedies=("he-initialization",)))
    assert finding.remedies == ()


def test_failures_become_trials():
    crash = SubjectError("the process was killed", stage="forward", module="3")
    source = ChangeableSource(9.0, he_initialization=crash, momentum=None)
    prop = property_of(measure, remedies=("he-initialization", "momentum", "prayer"))
    (finding,) = tried(source, prop)
    killed, raised, unknown = finding.remedies
    assert (killed.verdict, killed.helps, killed.note) == (Verdict.ERROR, False, "the process was killed (stage: forward)")
    assert math.isnan(killed.value)
    assert (raised.verdict, unknown.verdict) == (Verdict.ERROR, Verdict.ERROR)
    assert "KeyError: 'prayer'" in unknown.note
    assert "he-initialization could not be measured (the process was killed (stage: forward))" in finding_text(finding)
    assert load(Finding, to_data(finding)).remedies[0].note == killed.note


@pytest.mark.parametrize(("verdict", "value", "helped", "words"), [
    (Verdict.HOLDS, 0.0, True, "helps"), (Verdict.VIOLATED, 2.0, True, "helps, not enough"),
    (Verdict.VIOLATED, 9.0, False, "does not help"),
    (Verdict.INCONCLUSIVE, 1.0, True, "helps, enough or not is undecided"), (Verdict.NOT_APPLICABLE, math.nan, True, "helps"),
    (Verdict.ERROR, math.nan, False, "could not be measured"),
])
def test_the_effect_in_words(verdict, value, helped, words):
    assert effect(RemedyTrial(remedy="momentum", verdict=verdict, value=value, error=0.0, helps=helped)) == words


def test_a_failure_that_is_gone_is_help():
    def failing(probe):
        return None if probe > 1 else NoFailure("it learns") if probe < 0 else "no optimiser"

    prop = property_of(measure, conditions=(failing,), remedies=("he-initialization", "momentum"))
    (finding,) = tried(ChangeableSource(9.0, he_initialization=-1.0, momentum=0.5), prop)
    told = [(trial.verdict, trial.helps, trial.note) for trial in finding.remedies]
    assert told == [(Verdict.NOT_APPLICABLE, True, "it learns"), (Verdict.NOT_APPLICABLE, False, "no optimiser")]
    assert "he-initialization helps (it learns); momentum could not be measured (no optimiser)" in finding_text(finding)


def test_where_conditions_end_the_same_quantity_may_be_measured_otherwise():
    def chain(probe):
        return None if probe > 8 else "no plain chain"

    def remeasure(before, probe):
        return evidence(probe, error=0.5, low=before.low, high=before.high)

    (finding,) = tried(ChangeableSource(9.0, momentum=2.0), property_of(
        measure, conditions=(chain,), remedies=("momentum",), remeasure=remeasure))
    (trial,) = finding.remedies
    assert (trial.verdict, trial.value, trial.error, trial.helps) == (Verdict.VIOLATED, 2.0, 0.5, True)


def test_what_a_remedy_shows_is_shared_by_all_properties_and_closed_at_the_end():
    source = ChangeableSource(9.0, he_initialization=0.0)
    remedies, prop = Remedies(source, 3), property_of(measure, remedies=("he-initialization",))
    for _ in range(2):
        (finding,) = remedies.tried(prop, check(prop, source))
        assert finding.remedies[0].helps
    remedies.close()
    assert [changed.closed for changed in source.opened] == [True]


@pytest.mark.parametrize("name", BUDGETS)
def test_a_run_tries_as_many_as_its_budget_says(name):
    opened = []

    def open_source():
        opened.append(ChangeableSource(9.0, he_initialization=0.0))
        return opened[-1]

    prop = property_of(measure, remedies=("he-initialization",))
    (finding,) = fold(run(Plan((open_source,), (prop,)), described(("gradcheck",), 0, name, 1))).findings
    assert len(finding.remedies) == min(1, BUDGETS[name].remedies)
    assert len(opened[0].opened) == len(finding.remedies)
    assert all(changed.closed for changed in opened[0].opened)


def trained(*losses, constant=2.0):
    attempts = tuple(Attempt(change="", losses=frozen([loss] * 30), constant=constant, constant_error=0.0) for loss in losses)
    return Training(attempts=attempts, trials=(), steps=29, intended=29, samples=8, reach=None, direct=0.0, standardised_start=math.nan,
                    unbounded=False, breakdown=None, activity=(), optimizer="SGD", learning_rate=0.1)


@pytest.mark.parametrize(("after", "words", "cures"), [
    (trained(0.31), "the loss of the short training ends at 0.31 instead of 2.3 ± 0.1", True),
    (trained(2.1, 2.3), "the loss of the short training ends at 2.2 ± 0.1 instead of 2.3 ± 0.1", False),
    (trained(math.inf), "the loss of the short training ends at no finite value instead of 2.3 ± 0.1", False),
    (trained(1.0, constant=4.0), "the short training then explains 75% of the best constant output's loss instead of -15%", True),
])
def test_what_a_training_reached_with_and_without_a_remedy(after, words, cures):
    assert outcome(TableSource(training=trained(2.2, 2.3, 2.4)), TableSource(training=after)) == (words, cures)
    assert outcome(TableSource(training=after), TableSource(training=NotApplicable("no loss"))) == ("", False)


def test_a_remedy_that_helps_and_does_not_cure_says_so():
    trial = RemedyTrial(remedy="momentum", verdict=Verdict.HOLDS, value=0.0, error=0.0, helps=True, outcome="the loss ends at 2")
    assert trial_text(trial) == "momentum helps, but it does not learn: the loss ends at 2"
    assert trial_text(replace(trial, cures=True)) == "momentum helps: the loss ends at 2"
    assert trial_text(replace(trial, helps=False, value=math.nan)) == "momentum does not help: the loss ends at 2"
