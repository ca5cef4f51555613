"""What there is to call, with examples that work, and what a shell completes."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from ami.cli.group import COMMANDS, EXIT_REFUSED, ami
from ami.graph.expression.elementary import FUNCTIONS
from ami.graph.language.reference import Entry, list_operations
from ami.graph.language.text import graph_of
from ami.graph.library import LIBRARY
from ami.offline import run as run_offline
from ami.sources import open_source

OURS = [entry for entry in list_operations() if entry.name in FUNCTIONS or LIBRARY.is_ours(entry.name)]


def test_every_operation_is_listed_once() -> None:
    names = [entry.name for entry in OURS]
    kinds = {name for name in LIBRARY if LIBRARY.is_ours(name)}
    assert sorted(names) == sorted({*kinds, *FUNCTIONS} - {"expression", "function"})


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_an_operation_says_what_it_does_in_a_sentence(entry: Entry) -> None:
    assert entry.help[:1].isupper()
    assert "State:" not in entry.help
    assert entry.usage.startswith(f"{entry.name}(")
    assert f"{entry.name}(" in entry.example


def test_every_example_gives_a_result() -> None:
    lines = "".join(f"  r_{entry.name}: >-\n    {entry.example}\n" for entry in OURS)
    with closing(open_source("sim://pump-probe?stop=400&rate=max")) as source:
        found = run_offline(graph_of(f"results:\n{lines}"), source).results
    assert len(found) == len(OURS)
    assert not {name: result.error for name, result in found.items() if result.error or result.value is None}


def test_the_command_lists_them_and_tells_of_one() -> None:
    listed = CliRunner().invoke(ami, ["operations"]).stdout
    assert all(entry.name in listed for entry in OURS)
    assert max(map(len, listed.splitlines()[:20])) <= 100
    told = CliRunner().invoke(ami, ["operations", "mean_vs"]).stdout
    assert "key=delay" in told
    assert "for each key" in told
    assert (
        json.loads(CliRunner().invoke(ami, ["operations", "sqrt", "--json"]).stdout)["sort"] == "elementwise"
    )


@pytest.mark.parametrize(("name", "advice"), [("mean_v", "did you mean 'mean_vs'"), ("median", "histogram(x"),
                                              ("xyzzy", "`ami operations` lists")])  # fmt: skip
def test_an_operation_that_there_is_not_is_answered_with_one_that_there_is(name: str, advice: str) -> None:
    done = CliRunner().invoke(ami, ["operations", name])
    assert done.exit_code == EXIT_REFUSED
    assert f"there is no operation {name!r}" in done.stderr
    assert advice in done.stderr


def complete(*arguments: str) -> list[str]:
    """Return what a shell would offer for the last argument."""
    *before, incomplete = arguments
    found = ShellComplete(ami, {}, "ami", "_AMI_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found]


def test_commands_and_operations_are_completed() -> None:
    assert complete("") == list(COMMANDS)
    assert complete("s") == ["status", "scale", "sources"]
    assert complete("operations", "mean_") == ["mean_events", "mean_vs"]
    assert "--json" in complete("operations", "--")


def test_without_a_node_its_names_are_not_completed_and_that_is_no_error(tmp_path: Path) -> None:
    settings = tmp_path / "ami.toml"
    settings.write_text('[node]\nrun_dir = "."\n[global_store]\nport = 1\n')
    (tmp_path / "secret").write_text("nobody listens here")
    for command in (["get"], ["watch"], ["graph", "remove"]):
        assert complete(*command, "--config", str(settings), "") == []
    assert complete("graph", "add", "--config", str(settings), "m = mean_v") == ["m = mean_vs"]


def test_what_an_operation_takes_is_told_with_types_and_defaults() -> None:
    entries = {entry.name: entry for entry in OURS}
    histogram = {one["name"]: one for one in entries["histogram"].parameters}
    assert [*histogram] == ["bins", "low", "high", "window"]
    assert (histogram["bins"]["type"], "default" in histogram["bins"]) == ("int", False)
    assert histogram["window"] == {"name": "window", "type": "str", "default": "run"}
    assert (entries["mean_vs"].inputs, entries["where"].inputs) == (("value", "key"), ("condition", "a", "b"))
    assert {one["type"] for one in entries["radial"].parameters} == {"Point", "Range | None", "int | None"}
