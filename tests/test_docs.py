"""The documents say what the code says: generated pages are current, the tutorial's property keeps its contract, links lead somewhere."""

import re
from pathlib import Path

import pytest

from docs.generate import FOLDER, pages, prose
from gradcheck_suite import catalogue, contract

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def test_the_pages_of_the_catalogue_are_current():
    written = pages()
    stale = [name for name, text in written.items() if not (FOLDER / name).exists() or (FOLDER / name).read_text(encoding="utf-8") != text]
    assert not stale, f"write them again with: python docs/generate.py ({', '.join(stale)})"
    assert {path.name for path in FOLDER.glob("*.md")} == set(written)


def test_signs_of_markdown_are_escaped_outside_code():
    assert prose("<w, g> is ``a_b<c>`` times a*b") == r"\<w, g\> is `a_b<c>` times a\*b"


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_links_lead_to_files(page):
    links = re.findall(r"(?<!\\)\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_the_tutorials_property_keeps_its_contract(tmp_path):
    tutorial = (DOCS / "own_properties.md").read_text(encoding="utf-8")
    (program,) = [block.split("```")[0] for block in tutorial.split("```python\n") if block.startswith('"""A step')]
    path = tmp_path / "optimization" / "step_within_weights.py"
    path.parent.mkdir()
    path.write_text(program, encoding="utf-8")
    (own,) = [entry for entry in catalogue.entries([tmp_path]) if entry.path == path]
    prop = catalogue.load(own)
    clauses = list(contract.clauses(prop))
    assert len(clauses) == 6
    for clause in clauses:
        assert f"::{clause} PASSED" in tutorial
        contract.verify(prop, clause)


def test_the_table_of_laws_names_properties_that_exist_and_every_law_has_one():
    rows = [line.split("|")[1:-1] for line in (DOCS / "laws.md").read_text(encoding="utf-8").splitlines() if line.startswith("| **")]
    known = {entry.id for entry in catalogue.entries()}
    for law, named, *_ in rows:
        ids = re.findall(r"`([a-z-]+)`", named)
        assert ids, f"{law.strip()} has no property"
        assert set(ids) <= known, f"{law.strip()}: {set(ids) - known}"
    assert len(rows) > 40
