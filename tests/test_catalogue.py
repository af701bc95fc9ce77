"""Finding, reading and choosing property files."""

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


@pytest.mark.parametrize("word", ["widget-parity", "widget_parity", "widgets/widget-parity", "widgets", "odd widgets", "odd"])
def test_words_choose_by_id_family_and_symptom(folder, word):
    assert named(folder, "widgets/widget-parity") in catalogue.choose(catalogue.entries([folder]), [word])


def test_an_unknown_word_is_refused_with_the_closest(folder):
    with pytest.raises(UsageError, match="Did you mean 'widget-parity'"):
        catalogue.choose(catalogue.entries([folder]), ["widget-partiy"])


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
