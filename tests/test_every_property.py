"""The contract of every property of the catalogue, generated: see ``gradcheck_suite.contract``."""

import pytest

from gradcheck_suite import catalogue, contract

ENTRIES = catalogue.entries()
CASES = [pytest.param(entry, clause, id=f"{entry.name}-{clause}")
         for entry in ENTRIES for clause in contract.clauses(catalogue.load(entry))]


@pytest.mark.parametrize(("entry", "clause"), CASES)
def test_the_contract_holds(entry, clause):
    contract.verify(catalogue.load(entry), clause)


def test_what_is_read_without_running_agrees_with_what_is_loaded():
    for entry in ENTRIES:
        prop = catalogue.load(entry)
        wrong = f"{entry.name}: write symptoms and level as literals"
        assert prop.symptoms == entry.symptoms, wrong
        assert prop.level.value in entry.level.split(" or "), wrong


def test_ids_are_noun_phrases_without_verbs_of_judgement():
    for entry in ENTRIES:
        assert not entry.id.startswith(("no-", "check-", "is-", "has-", "test-")), entry.id


def test_every_probe_that_a_property_asks_for_exists():
    from gradcheck_suite import probes

    for entry in ENTRIES:
        for name in catalogue.load(entry).probes:
            assert callable(probes.probe(name)), f"{entry.name} asks for {name}"
