"""Documents that name files name those that exist, and none is forgotten."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(
    path for path in (PROJECT / "ami").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")
)


def tour() -> dict[str, set[str]]:
    """The files that the README's tour names, by room."""
    text = README.partition("## The tour of the source")[2].partition("## How to add")[0]
    rooms: dict[str, set[str]] = {}
    room = ""
    for line in text.splitlines():
        if heading := re.match(r"\*\*`(ami/[a-z_/]*)`\*\*", line):
            room = heading[1]
            rooms[room] = set()
        elif entry := re.match(r"- `([a-z_0-9]+\.py)`", line):
            rooms[room].add(entry[1])
    return rooms


def test_the_tour_names_every_file_and_no_other() -> None:
    rooms: dict[str, set[str]] = {}
    for path in MODULES:
        rooms.setdefault(f"{path.parent.relative_to(PROJECT)}/", set()).add(path.name)
    assert tour() == rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_module_says_in_its_first_sentence_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    assert re.match(r"[A-Z`].*[.:?]", text.partition("\n\n")[0].replace("\n", " "))


def test_no_file_is_longer_than_it_may_be() -> None:
    """About 400 lines: beyond, a file holds two nouns."""
    long = {
        str(path.relative_to(PROJECT)): count
        for path in MODULES
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 420
    }
    # The double of a whole tier: its parts are as many as the interface has.
    long.pop("ami/stores/memory.py", None)
    assert not long


def test_links_of_documents_lead_to_files() -> None:
    for document in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
