"""The order of findings: causes before consequences."""

import itertools
from dataclasses import replace

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.core.causes import CANDIDATES, DEFECTS, EXPLAINED_BY, IDENTITIES, SYMPTOMS, explains, folded, ranked
from gradcheck_suite.core.evidence import Level, Verdict, Where
from gradcheck_suite.core.finding import GENERATED, Finding

HOLDS = Finding(id="h", property="advantage-over-constant", family="f", level=Level.REQUIREMENT, symptoms=(), subject="s",
                verdict=Verdict.HOLDS, message="")


def violated(name: str, level: Level = Level.REQUIREMENT, subject: str = "s", module: str = "") -> Finding:
    return replace(HOLDS, id=f"{name}{module}", property=name, level=level, subject=subject, verdict=Verdict.VIOLATED,
                   where=Where(module=module))


def indicator(name: str, **facts: str) -> Finding:
    return violated(name, Level.INDICATOR, **facts)


def names(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.property for finding in findings]


def test_an_indicator_that_explains_a_requirement_comes_before_it():
    order = names(ranked([violated("advantage-over-constant"), indicator("learning-rate-sufficiency")]))
    assert order == ["learning-rate-sufficiency", "advantage-over-constant"]


def test_an_indicator_that_explains_no_requirement_comes_last():
    order = names(ranked([indicator("attention-spread"), violated("sample-independence")]))
    assert order == ["sample-independence", "attention-spread"]


def test_a_chain_is_followed_from_its_first_link():
    found = [violated("advantage-over-constant"), violated("output-dependence"), violated("gradient-activity"), violated("live-layers")]
    assert names(ranked(found)) == ["live-layers", "gradient-activity", "output-dependence", "advantage-over-constant"]


def test_one_place_of_every_property_comes_before_the_second_of_any():
    found = [violated("convergent-training"), *(indicator("weight-variance", module=str(i)) for i in range(3)),
             indicator("learning-rate-stability")]
    assert names(ranked(found))[:3] == ["learning-rate-stability", "weight-variance", "convergent-training"]
    assert names(ranked(found))[3:] == ["weight-variance", "weight-variance"]


@pytest.mark.parametrize("seed", range(6))
def test_the_order_does_not_depend_on_the_order_given(seed):
    found = [violated("convergent-training"), indicator("input-scale"), indicator("initial-loss"), violated("gradient-reach")]
    shuffled = list(itertools.permutations(found))[seed * 4]
    assert names(ranked(shuffled)) == names(ranked(found))


def test_findings_that_are_not_violated_keep_their_order_behind():
    others = [HOLDS, replace(HOLDS, id="n", verdict=Verdict.NOT_APPLICABLE)]
    assert ranked([*others, violated("frozen-state")])[1:] == tuple(others)


def test_a_subject_with_a_violated_requirement_comes_before_one_with_indicators_only():
    found = [indicator("initial-loss", subject="a"), violated("gradient-reach", subject="b")]
    assert [finding.subject for finding in ranked(found)] == ["b", "a"]


def test_properties_that_are_not_in_the_table_are_ranked_too():
    order = names(ranked([violated("advantage-over-constant"), violated("somebodys-own")]))
    assert set(order) == {"advantage-over-constant", "somebodys-own"}


def test_nothing_explains_itself_even_through_others():
    for name in EXPLAINED_BY:
        assert not explains(name, name), name


def test_the_table_names_properties_that_exist():
    known = {entry.id for entry in catalogue.entries()}
    named = {*DEFECTS, *CANDIDATES, *SYMPTOMS, *EXPLAINED_BY, *itertools.chain(*EXPLAINED_BY.values())}
    assert named <= known, sorted(named - known)


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_wrong_gradient_comes_before_every_identity_that_it_breaks(name):
    found = [violated(name), violated(name, module="a"), violated("backprop-agreement", module="z")]
    ((first, under),) = folded(ranked(found))
    assert first.property == "backprop-agreement"
    assert names(under) == [name, name]


def test_the_place_that_names_a_function_comes_first():
    wrong = [violated("backprop-agreement"), violated("backprop-agreement", module="a"),
             replace(violated("backprop-agreement", module="b"), where=Where(module="b", function="ScaledReLU"))]
    assert [finding.where.module for finding in ranked(wrong)] == ["b", "a", ""]


def test_what_a_wrong_gradient_does_not_explain_stays_beside_it():
    wrong, intended = violated("backprop-agreement"), indicator("backprop-agreement")
    for other in (violated("gradient-determinism"), violated("batch-additivity", subject="t"), violated("somebodys-own"),
                  replace(violated("batch-additivity"), verdict=Verdict.INCONCLUSIVE)):
        assert not any(under for _, under in folded([wrong, other]))
    assert not any(under for _, under in folded([intended, violated("batch-additivity")]))
    search = [replace(finding, subject=GENERATED) for finding in (wrong, violated("batch-additivity"))]
    assert [finding for finding, _ in folded(search)] == search


def error(name: str, reason: str, subject: str = "s") -> Finding:
    return replace(HOLDS, id=f"{name}{subject}", property=name, subject=subject, verdict=Verdict.ERROR, reason=reason)


def test_errors_for_one_reason_are_told_under_the_first_of_them():
    found = [error("gradient-reach", "no"), error("initial-loss", "no"), error("euler-identity", "other"), error("weight-growth", "no"),
             error("gradient-reach", "no", subject="t"), error("a", ""), error("b", "")]
    told = {(head.property, head.subject): names(under) for head, under in folded(found)}
    assert told == {("gradient-reach", "s"): ["initial-loss", "weight-growth"], ("euler-identity", "s"): [], ("gradient-reach", "t"): [],
                    ("a", "s"): [], ("b", "s"): []}


def test_errors_in_a_search_and_beside_a_wrong_gradient_stay_findings_of_their_own():
    search = [error(name, "no", subject=GENERATED) for name in ("gradient-reach", "initial-loss")]
    assert [head for head, _ in folded(search)] == search
    beside = [violated("backprop-agreement"), error("batch-additivity", "no")]
    assert [head for head, _ in folded(beside)] == beside
