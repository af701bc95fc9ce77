"""The configuration: what it accepts, and how it refuses."""

from pathlib import Path

import pytest

from gradcheck_suite.config import Config, read
from gradcheck_suite.core.errors import UsageError


@pytest.fixture
def write(tmp_path):
    def writer(text):
        (tmp_path / "pyproject.toml").write_text(text)
        return tmp_path

    return writer


def test_without_a_table_the_defaults_apply(write):
    assert read(write("[tool.other]\nx = 1\n")) == Config()


def test_it_is_found_from_below_and_paths_are_relative_to_it(write):
    text = ('[tool.gradcheck_suite]\nbudget = "quick"\nproperties = ["mine"]\noutput_dir = "runs"\n'
            '[tool.gradcheck_suite.targets."a.b:c"]\nmode = "both"\n')
    folder = write(text)
    (folder / "deep").mkdir()
    config = read(folder / "deep")
    assert (config.budget, config.properties, config.output_dir) == ("quick", (folder / "mine",), folder / "runs")
    assert config.targets["a.b:c"].mode == "both"


def test_without_an_output_folder_runs_are_kept_below_the_working_directory(write):
    assert read(write('[tool.gradcheck_suite]\nseed = 1\n')).output_dir == Config().output_dir == Path("reports")


@pytest.mark.parametrize(("text", "message"), [
    ('buget = "quick"', "unknown key tool.gradcheck_suite.buget\nDid you mean 'budget'"),
    ('budget = "huge"', "budget: .*'huge'"),
    ("seed = 'x'", "seed"),
    ('targets."a:b".inpt = ["1"]', "Did you mean 'input'"),
    ("timeout = -1", "timeout"),
])
def test_mistakes_are_refused_with_what_to_write(write, text, message):
    with pytest.raises(UsageError, match=message):
        read(write(f"[tool.gradcheck_suite]\n{text}\n"))


@pytest.mark.parametrize("text", ["[tool", "\x00"])
def test_a_file_that_is_not_toml_is_named(write, text):
    with pytest.raises(UsageError, match="cannot be read"):
        read(write(text))


def test_a_table_that_is_not_a_table_is_refused(write):
    with pytest.raises(UsageError, match="Allowed: a table"):
        read(write("[tool]\ngradcheck_suite = 3\n"))
