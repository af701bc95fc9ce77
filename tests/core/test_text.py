"""Plain text: hidden characters shown, facts of a finding named once, the headline never kinder than the findings."""

import math
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck_suite.core.evidence import Evidence, Level, Verdict, Where
from gradcheck_suite.core.finding import GENERATED, RemedyTrial
from gradcheck_suite.core.text import (
    facts,
    finding_text,
    first_cause,
    headline,
    own_message,
    place_text,
    report_text,
    short_place,
    shortened,
    visible,
)
from tests.reporting import samples


@pytest.mark.parametrize(("raw", "shown"), [
    ("layer.0", "layer.0"), ("a\x00b", "a\\x00b"), ("a\nb\tc\r", "a\\nb\\tc\\r"), ("\u202egnp\u202c", "\\u202egnp\\u202c"),
    ("\ud800", "\\ud800"), ("\x1b[31m", "\\x1b[31m"), ("é λ 漢 ±", "é λ 漢 ±"), ("\u2028\ufeff\uffff", "\\u2028\\ufeff\\uffff"),
])
def test_hidden_characters_become_escapes(raw, shown):
    assert visible(raw) == shown


def test_kept_characters_stay():
    assert visible("a\n\tb\x00", keep="\n\t") == "a\n\tb\\x00"


@given(st.text())
def test_visible_text_can_be_printed_encoded_and_carried_by_xml(text):
    shown = visible(text)
    shown.encode("utf-8")
    hidden = {"Cc", "Cs", "Zl", "Zp"}
    assert not any(unicodedata.category(character) in hidden for character in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\ufffe\uffff")
    assert visible(shown) == shown


def test_long_text_keeps_its_ends_and_says_what_is_missing():
    text = "a" * 3000 + "b" * 3000
    short = shortened(text, 100)
    assert short.startswith("a" * 50)
    assert short.endswith("b" * 50)
    assert "5,900 characters left out" in short
    assert shortened("short") == "short"


def test_a_finding_says_statement_number_bound_place_and_next_step():
    text = finding_text(samples.wrong_backward())
    for words in ("VIOLATED", "requirement", "The gradient that backward computes", "0.03125 ± 4.1e-10", "allowed 0 to 1e-07",
                  "layer3.0.act[2, 17, 3, 0] (FusedGELU, demo/ops.py:41)", "kink", "gradcheck replay"):
        assert words in text
    assert "\\n" not in text


def test_an_error_shows_its_traceback_unless_told_not_to():
    assert "Segmentation fault" in finding_text(samples.segfault())
    assert "Segmentation fault" not in finding_text(samples.segfault(), details=False)


def test_remedies_are_told_with_their_effect():
    assert "he-initialization helps (holds, -0.008 ± 0.039)" in dict(facts(samples.vanishing()))["remedies"]


def test_the_message_adds_only_what_is_not_said_elsewhere():
    evidence = Evidence(quantity="q", value=2.0, error=0.0, low=0.0, high=1.0, note="seen")
    told = samples.finding("x", Verdict.VIOLATED, evidence=evidence, message=f"x: violated: {evidence}. seen")
    assert own_message(told) == ""
    assert own_message(replace(told, message=f"{told.message}. Smallest architecture: dense")) == "Smallest architecture: dense"
    assert own_message(replace(told, message="something else")) == "something else"


def test_a_folded_finding_counts_its_places():
    assert place_text(samples.finding("x", Verdict.HOLDS, places=61)) == "61 places"
    assert place_text(samples.finding("x", Verdict.HOLDS)) == ""


def test_headline_of_a_violated_run():
    line = headline(samples.mixed_report())
    assert line.verdict is Verdict.VIOLATED
    assert (line.sentence, line.subject) == ("2 requirements are violated", "resnet")
    assert line.places == ("layer3.0.act (FusedGELU)", "layer1")
    assert line.also == "1 check ended in an error, 1 indicator is violated, 1 finding is inconclusive, 8 statements hold"
    assert str(line).startswith("2 requirements are violated in resnet: layer3.0.act (FusedGELU), layer1. 1 check")


@pytest.mark.parametrize(("findings", "sentence", "verdict"), [
    ([], "Nothing was checked", None),
    (samples.unmet(), "Nothing was checked", None),
    (samples.holding(), "No requirement is violated: 8 statements hold", Verdict.HOLDS),
    ([samples.kink()], "Nothing could be decided: 1 finding is inconclusive", Verdict.INCONCLUSIVE),
    ([samples.kink(), *samples.holding()], "No requirement is violated: 1 finding is inconclusive", Verdict.INCONCLUSIVE),
    ([samples.dead_units(), *samples.holding()], "No requirement is violated: 1 indicator is violated", Verdict.INCONCLUSIVE),
    ([samples.dead_units()], "No requirement is violated: 1 indicator is violated", Verdict.INCONCLUSIVE),
    ([samples.segfault(), *samples.holding()], "1 check ended in an error", Verdict.ERROR),
])
def test_headline_says_the_worst(findings, sentence, verdict):
    line = headline(samples.report_of(findings))
    assert (line.sentence, line.verdict) == (sentence, verdict)


def test_a_run_that_fails_on_indicators_says_so():
    report = samples.report_of([samples.dead_units()], run=replace(samples.RUN, fail_on=Level.INDICATOR))
    line = headline(report)
    assert (line.verdict, line.sentence, report.exit_code()) == (Verdict.VIOLATED, "1 indicator is violated", 1)


def test_a_target_that_could_not_be_built_is_never_a_pass():
    report = samples.report_of(samples.holding())
    report = replace(report, run=replace(report.run, broken=("demo.models:missing: no such name",)))
    line = headline(report)
    assert (line.verdict, line.sentence, line.also) == (Verdict.ERROR, "1 target could not be built", "8 statements hold")
    assert "demo.models:missing" in report_text(report)
    assert headline(replace(report, findings=())).sentence == "1 target could not be built"


def test_a_module_that_is_called_by_a_number_does_not_read_as_a_count():
    wrong = replace(samples.wrong_backward(), where=Where(module="0"))
    layers = (samples.RESNET, replace(samples.RESNET, modules=(("0", "Linear"),)))
    assert headline(samples.report_of([wrong], subjects=layers[:1])).places == ("module 0",)
    assert headline(samples.report_of([wrong], subjects=layers[1:])).places == ("module 0 (Linear)",)
    assert short_place(replace(wrong, where=Where(module="0.1", function="FusedGELU"))) == "module 0.1 (FusedGELU)"
    assert short_place(replace(wrong, where=Where(module="0", parameter="weight"))) == "0.weight"
    assert place_text(wrong) == "module 0"


def test_what_a_wrong_gradient_explains_is_told_beside_it():
    identity = samples.finding("batch-additivity", Verdict.VIOLATED, where=Where(module="layer1"))
    report = samples.report_of([identity, samples.wrong_backward()])
    line = headline(report)
    assert (line.sentence, line.also) == ("1 requirement is violated", "1 further statement is violated, which this explains")
    assert line.places == ("layer3.0.act (FusedGELU)",)
    text = report_text(report)
    assert text.count("VIOLATED") == 1
    assert "Also violated, explained by this: batch-additivity (layer1)" in text


def test_one_reason_of_many_errors_is_told_once():
    errors = [samples.finding(name, Verdict.ERROR, reason="it raised") for name in ("gradient-reach", "initial-loss", "weight-growth")]
    report = samples.report_of(errors)
    line = headline(report)
    assert line.sentence == "1 check ended in an error"
    assert line.also == "2 further statements could not be judged for the same reason"
    text = report_text(report)
    assert text.count("it raised") == 1
    assert "Not judged either, for the same reason: initial-loss, weight-growth" in text


def test_a_search_names_properties_for_its_networks_differ():
    assert headline(samples.report_of([replace(samples.wrong_backward(), subject=GENERATED)])).places == ("backprop-agreement",)


def test_an_unfinished_run_says_so_first():
    assert str(headline(samples.unfinished_report())).startswith("INCOMPLETE (8 of 60 checks): ")


@given(st.lists(st.sampled_from([samples.wrong_backward(), samples.segfault(), samples.dead_units(), samples.kink(), *samples.holding()])))
def test_headline_and_exit_code_agree(findings):
    report = samples.report_of(findings)
    assert (headline(report).verdict in (Verdict.VIOLATED, Verdict.ERROR)) == (report.exit_code() == 1)


def test_many_places_are_counted():
    many = [replace(samples.wrong_backward(), where=Where(module=f"m{index}"), level=Level.REQUIREMENT) for index in range(9)]
    line = headline(samples.report_of(many))
    assert len(line.places) == 4
    assert line.more == 5


def test_report_text_is_capped_and_keeps_notes():
    text = report_text(samples.large_report(30), most=3)
    assert text.count("VIOLATED") == 3
    assert "and 27 more findings" in text
    assert "started again after a crash" in report_text(samples.mixed_report())


def test_numbers_that_are_not_finite_are_told():
    evidence = Evidence(quantity="q", value=math.nan, error=math.inf, low=0.0, high=1.0)
    assert "nan ± inf" in finding_text(samples.finding("x", Verdict.INCONCLUSIVE, evidence=evidence))


def test_what_to_look_at_first_is_the_first_violation_and_what_helped():
    note = "vanishing gradient; add normalisation"
    evidence = Evidence(quantity="q", value=2.0, error=0.0, low=0.0, high=1.0, note=note)
    trials = (RemedyTrial(remedy="momentum", verdict=Verdict.HOLDS, value=0.0, error=0.0, helps=True, outcome="the loss ends at 2"),
              RemedyTrial(remedy="he-initialization", verdict=Verdict.HOLDS, value=0.0, error=0.0, helps=True, outcome="it ends at 1",
                          cures=True))
    first = samples.finding("x", Verdict.VIOLATED, evidence=evidence, remedies=trials)
    report = samples.report_of([first, *samples.holding()], subjects=(samples.RESNET,))
    assert first_cause(report) == "Vanishing gradient; add normalisation. Tried on a copy: he-initialization helps: it ends at 1."
    assert report_text(report).split("\n\n")[1] == first_cause(report)
    assert first_cause(samples.report_of(samples.holding())) == ""


def test_several_subjects_are_named_in_what_to_look_at_first():
    assert first_cause(samples.mixed_report()).startswith("In resnet: ")
