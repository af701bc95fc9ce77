"""Finding, reading and choosing property files."""

from dataclasses import replace
from pathlib import Path

import pytest

from gradcheck_suite import catalogue
from gradcheck_suite.core.errors import UsageError
from gradcheck_suite.core.property import Property

FILE = '''"""Widgets are even.

Conditions
----------
Always.

Sources
-------
Common sense.
"""
from gradcheck_suite.core.property import Property
PROPERTY = Property(measure=lambda structure: (), symptoms=("odd widgets",))
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "widgets").mkdir()
    (tmp_path / "widgets" / "widget_parity.py").write_text(FILE)
    return tmp_path


def named(folder, name):
    return next(entry for entry in catalogue.entries([folder]) if entry.name == name)


def test_path_and_docstring_say_what_it_is(folder):
    entry = named(folder, "widgets/widget-parity")
    assert entry.statement == "Widgets are even."
    assert entry.sections == {"Conditions": "Always.", "Sources": "Common sense."}
    assert entry.symptoms == ("odd widgets",)


def test_a_loaded_property_knows_its_id_and_family(folder):
    prop = catalogue.load(named(folder, "widgets/widget-parity"))
    assert isinstance(prop, Property)
    assert (prop.name, prop.probes) == ("widgets/widget-parity", ("structure",))


@pytest.mark.parametrize("word", ["widget-parity", "widget_parity", "widgets/widget-parity", "widgets", "odd widgets", "Odd-Widgets"])
def test_words_choose_by_id_family_and_symptom(folder, word):
    assert named(folder, "widgets/widget-parity") in catalogue.choose(catalogue.entries([folder]), [word])


def test_an_unknown_word_is_refused_with_the_closest(folder):
    with pytest.raises(UsageError, match="Did you mean 'widget-parity'"):
        catalogue.choose(catalogue.entries([folder]), ["widget-partiy"])


def test_a_part_of_a_symptom_is_enough_to_find_a_statement_and_never_to_leave_one_out(folder):
    entries = catalogue.entries([folder])
    assert [entry.name for entry in catalogue.choose(entries, ["dd widg"], partly=True)] == ["widgets/widget-parity"]
    with pytest.raises(UsageError, match="Did you mean 'odd widgets'"):
        catalogue.choose(entries, (), ["dd widg"])


def test_a_family_wins_over_a_symptom_of_another_family():
    (one, other), families = catalogue.entries()[:2], {"data", "correctness"}
    pool = (replace(one, family="data", symptoms=()), replace(other, family="correctness", symptoms=("data",)))
    assert {entry.family for entry in pool} == families
    assert catalogue.choose(pool, (), ["data"]) == pool[1:]
    assert catalogue.choose(pool, ["data"], partly=True) == pool


def test_only_what_is_surely_a_property_is_taken_for_one(folder):
    path = folder / "widgets" / "widget_parity.py"
    assert catalogue.is_property_file(path)
    made = "PROPERTY = Property(measure=print)\n"
    others = {"widgets/test_parity.py": FILE, "widgets/Parity.py": FILE, "my widgets/parity.py": FILE,
              "widgets/own.py": "class Property: ...\n" + made,
              "widgets/foreign.py": "from estate import Property\n" + made, "widgets/torn.py": FILE + "x = (\n",
              "widgets/template.py": f"import gradcheck_suite\nTEXT = '''\n{made}'''\n",
              "widgets/inside.py": f"from gradcheck_suite import Property\nif True:\n    {made}"}
    for name, text in others.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        assert not catalogue.is_property_file(folder / name), name
    assert all(catalogue.is_property_file(entry.path) for entry in catalogue.entries())
    outside = [path for path in Path(catalogue.__file__).parent.rglob("*.py") if catalogue.builtin_folder() not in path.parents]
    assert not [path for path in outside if catalogue.is_property_file(path)]


@pytest.mark.parametrize(("text", "message"), [("x = (", "not a Python file"), ("x = 1\n", "no docstring")])
def test_a_file_that_cannot_be_read_is_named(folder, text, message):
    (folder / "widgets" / "broken.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        catalogue.entries([folder])


@pytest.mark.parametrize(("body", "message"), [("", "has no PROPERTY"), ("1 / 0", "ZeroDivisionError")])
def test_a_file_that_cannot_be_loaded_is_named(folder, body, message):
    (folder / "widgets" / "broken.py").write_text(f'"""A thing."""\n{body}\n')
    with pytest.raises(UsageError, match=message):
        catalogue.load(named(folder, "widgets/broken"))


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        catalogue.entries([tmp_path / "nowhere"])


def test_a_level_that_evidence_may_change_is_told():
    levels = {entry.id: entry.level for entry in catalogue.entries()}
    assert levels["gradient-determinism"] == levels["gradient-scale-per-layer"] == "requirement or indicator"
    assert levels["optimizer-coverage"] == "requirement"
    assert levels["initial-loss"] == "indicator"
