"""The pages of the catalogue, from the property files: one page per family, and an index.

    python docs/generate.py [--folder docs/properties]
"""

import argparse
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from gradcheck_suite import catalogue

FOLDER = Path(__file__).parent / "properties"
START = """\
# Properties

Every statement of the catalogue, by family. These pages are written by `python docs/generate.py` from the property files;
`gradcheck explain ID` prints the same at the terminal, and `gradcheck list WORD` finds statements by symptom. A *requirement* fails a
build when it is violated, an *indicator* is a candidate cause and a warning. Which law of the theory is which property is told in
[laws.md](../laws.md), how often stochastic statements are wrong in [calibration.md](../calibration.md).
"""


def pages() -> dict[str, str]:
    """File name -> text, for the whole catalogue."""
    found = {}
    index = [START]
    for family, group in groupby(catalogue.entries(), key=lambda entry: entry.family):
        entries = tuple(group)
        found[f"{family}.md"] = page(family, entries)
        index += [f"## [{family.capitalize()}]({family}.md)", ""]
        index += [f"- [{entry.id}]({family}.md#{entry.id}) ({entry.level}): {prose(entry.statement)}" for entry in entries]
        index.append("")
    return {"README.md": "\n".join(index), **found}


def page(family: str, entries: Sequence[catalogue.Entry]) -> str:
    """The page of a family."""
    parts = [f"# {family.capitalize()}", "", "[All properties](README.md)", ""]
    for entry in entries:
        source = f"properties/{family}/{entry.path.name}"
        parts += [f"## {entry.id}", "", f"**{prose(entry.statement)}**", "", f"{entry.level.capitalize()} · [{source}](../../{source})"
                  + (f" · symptoms: {prose(', '.join(entry.symptoms))}" if entry.symptoms else ""), ""]
        for title, text in entry.sections.items():
            parts += [f"### {title}", "", prose(text), ""]
    return "\n".join(parts)


def prose(text: str) -> str:
    """Text of a docstring as Markdown: double backticks become single ones, and signs that Markdown would read are escaped."""
    pieces = re.split(r"``(.+?)``", text, flags=re.DOTALL)
    return "".join(f"`{piece}`" if index % 2 else re.sub(r"([\\*<>_\[\]])", r"\\\1", piece) for index, piece in enumerate(pieces))


def main() -> None:
    """Write the pages, and take away pages of families that are no more."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    for path in set(folder.glob("*.md")) - {folder / name for name in written}:
        path.unlink()
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
