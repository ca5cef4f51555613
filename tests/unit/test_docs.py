"""Documents lead to what exists, and every module says what it is for."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
MODULES = sorted(
    path for path in (PROJECT / "ami").rglob("*.py") if path.name not in ("__init__.py", "__main__.py")
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_module_says_in_its_first_sentence_what_it_is_for(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text
    assert re.match(r"[A-Z`].*[.:?]", text.partition("\n\n")[0].replace("\n", " "))


def test_links_of_documents_lead_to_files() -> None:
    for document in [PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_what_shows_that_something_is_stopped_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (PROJECT / "docs" / "security.md").read_text("utf-8"))
    assert len(named) > 10
    for path, name in named:
        file = PROJECT / path
        assert file.exists(), path
        assert f"\ndef {name}(" in file.read_text(encoding="utf-8"), f"{path} has no {name}"
