"""What `ami` says and how it ends, where no node is needed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import click
import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from ami.cli.group import COMMANDS, EXIT_REFUSED, EXIT_USAGE, ami, one_line
from ami.cli.options import to_json
from ami.cli.sources import EXAMPLES
from ami.errors import GraphError
from ami.sources import PROTOCOLS
from tests.unit.test_cli_screen import VALUES


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings of a node that does not run."""
    path = tmp_path / "ami.toml"
    path.write_text('[node]\nrun_dir = "."\n[global_store]\nport = 1\n')
    (tmp_path / "secret").write_text("nobody listens here")
    return path


@pytest.fixture
def count_graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.yaml"
    path.write_text("results:\n  n: count(delay)\n  mean: mean_events(monitor)\n")
    return path


def run(*arguments: str | Path, text: str | None = None) -> Result:
    return CliRunner().invoke(ami, [str(argument) for argument in arguments], input=text)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_has_the_common_options(name: str) -> None:
    module, line = COMMANDS[name]
    command = getattr(importlib.import_module(module), name.replace("-", "_"))
    commands = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    assert line.endswith(".")
    for one in commands:
        assert one.help
        assert {"--json", "--timeout", "--config"} <= {o for p in one.params for o in p.opts}


def test_every_command_has_a_whole_sentence_of_help_and_knows_its_namesakes() -> None:
    shown = " ".join(run("graph", "--help").output.split())
    for name, command in ami.get_command(click.Context(ami), "graph").commands.items():  # type: ignore[union-attr]
        sentence = " ".join(command.help.split("\n\n")[0].split())
        assert f"{name} {sentence}" in shown
        wrong = run("graph", f"{name}x")
        assert wrong.exit_code == EXIT_USAGE
        assert f"there is no command '{name}x'; did you mean '{name}'?" in wrong.stderr


def test_help_imports_no_heavy_room() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from ami.cli import ami\n"
        "assert CliRunner().invoke(ami, ['--help']).exit_code == 0\n"
        "heavy = {'numpy', 'redis', 'h5py', 'networkx', 'yaml', 'posix_ipc'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=30)


def test_the_module_runs_as_a_program_and_hands_on_its_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ami.cli", "no-such-command"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == EXIT_USAGE
    assert "there is no command" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["get"],
        ["status", "--timeout", "nan"],
        ["status", "--timeout", "-1"],
        ["status", "--timeout", "1e99"],
        ["graph", "rollback", "minus"],
        ["watch", "--count", "0"],
        ["status", "--config", "/no/such/file"],
    ],
)
def test_wrong_usage_and_wrong_settings_end_with_2(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == EXIT_USAGE
    assert isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "arguments", [["status"], ["results"], ["get", "a"], ["watch"], ["keys"], ["key", "a"], ["graph", "show"]]
)
def test_without_a_node_one_line_says_where_it_was_sought_and_how_to_start_it(
    settings: Path, arguments: list[str]
) -> None:
    done = run(*arguments, "--config", settings, "--timeout", "0.2")
    assert done.exit_code == EXIT_REFUSED
    assert done.stderr.startswith("ami: no node runs here: nobody answers at 127.0.0.1:1")
    assert "make run" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_is_one_line_without_terminal_commands() -> None:
    assert one_line(GraphError("seen\n  \x1b[2Jhere\n")) == "seen: \\x1b[2Jhere"


def test_a_graph_runs_offline_and_answers_in_json(count_graph: Path) -> None:
    done = run("run", count_graph, "sim://pump-probe?rate=max&stop=1000", "--json")
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert results["n"]["value"] == 1000
    assert results["n"]["events"] == {"expected": 1000, "used": 1000, "dropped": 0, "set_aside": 0}


def test_a_graph_runs_offline_and_answers_in_a_table(count_graph: Path) -> None:
    done = run("run", count_graph, "sim://pump-probe?rate=max", "--limit", 500)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split() == ["n", "run", "500", "500", "500"]
    assert done.stderr == ""  # no progress bar where there is no terminal


def test_a_graph_is_read_from_standard_input() -> None:
    done = run("run", "-", "sim://pump-probe?rate=max&stop=10", "--json", text="results: {n: count(laser)}")
    assert json.loads(done.stdout)["n"]["value"] == 10


@pytest.mark.parametrize(
    ("graph", "uri", "said"),
    [
        ("results: {n: count(nothing)}", "sim://pump-probe?stop=10", "nothing"),
        ("results: [", "sim://pump-probe?stop=10", "line 1"),
        ("results: {n: count(delay)}", "sim://pump-probe", "no end"),
        ("results: {n: count(delay)}", "simm://pump-probe", "did you mean 'sim'"),
        ("results: {n: count(delay)}", "hdf5:///no/such/file.h5", "/no/such/file.h5"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(graph: str, uri: str, said: str) -> None:
    done = run("run", "-", uri, text=graph)
    assert done.exit_code == EXIT_REFUSED, done.output
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_graph_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    done = run("run", path, "sim://pump-probe?stop=10")
    assert (done.exit_code, len(done.stderr.splitlines())) == (EXIT_REFUSED, 1)


def test_a_node_is_not_started_for_a_graph_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "graph.yaml"
    path.write_text("results: {n: nonsense(}")
    done = run("node", "--graph", path)
    assert done.exit_code == EXIT_REFUSED
    assert str(path) in done.stderr


def test_a_node_is_not_started_for_a_source_of_a_protocol_that_nobody_has() -> None:
    done = run("node", "--source", "foo://x")
    assert done.exit_code == EXIT_REFUSED
    assert "unknown protocol 'foo'; known: daq, hdf5" in done.stderr
    assert done.stdout == ""


def test_a_source_tells_its_fields() -> None:
    facts = json.loads(run("sources", "sim://pump-probe?stop=100", "--json").stdout)
    assert facts["events"] == 100
    assert "camera" in [field["name"] for field in facts["fields"]]
    assert "camera" in run("sources", "sim://pump-probe").stdout


def test_a_recording_of_any_name_is_taken_by_its_path_and_says_what_is_left_out(
    tmp_path: Path, count_graph: Path
) -> None:
    path = tmp_path / "what? 50%.h5"
    with h5py.File(path, "w") as file:
        for name in ("timestamp", "delay", "monitor"):
            file[name] = np.arange(10)
        file["lost"] = h5py.ExternalLink("no.h5", "/x")
    assert "a link to /x in no.h5" in json.loads(run("sources", path, "--json").stdout)["left_out"]["lost"]
    assert "no.h5" in run("sources", path).stdout
    assert json.loads(run("run", count_graph, path, "--json").stdout)["n"]["value"] == 10
    asks = run("run", "-", path, text="results: {n: count(lost)}")
    assert asks.exit_code == EXIT_REFUSED
    assert "'lost' of the source is left out: it is a link to /x in no.h5" in asks.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["statsu"], "there is no command 'statsu'; did you mean 'status'?"), (["graph", "shwo"], "shwo"),
     (["get"], "Missing argument 'NAME'"), (["run", "--limt", "3"], "--limt"), (["\x1b[31m"], "\\x1b[31m")],
)  # fmt: skip
def test_wrong_usage_is_told_in_one_line_with_the_reason_first(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == EXIT_USAGE
    assert done.stderr.startswith("ami: ")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "--help` says" in done.stderr


def test_a_client_without_a_name_is_refused(settings: Path) -> None:
    done = run("graph", "add", "--as", "", "n = count(x)", "--config", settings)
    assert done.exit_code == EXIT_REFUSED
    assert done.stderr.startswith("ami: the name of a client has 0 characters")


def test_what_goes_into_a_pipe_has_no_terminal_commands(tmp_path: Path, count_graph: Path) -> None:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w") as file:
        for name in ("timestamp", "delay", "monitor"):
            file[name] = np.arange(10)
        file["\x1b[31mred\nline"] = 1
    code = "import sys; from ami.cli.group import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", str(count_graph), str(path)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith(b"ami: hdf5://")
    assert len(done.stderr.splitlines()) == 1


def test_there_is_an_example_of_every_kind_of_source() -> None:
    assert {uri.partition("://")[0] for uri, _ in EXAMPLES} == set(PROTOCOLS)


@pytest.mark.parametrize("value", VALUES, ids=lambda v: f"{type(v).__name__}{getattr(v, 'shape', '')}")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_value_can_be_said_in_json(value: object) -> None:
    json.loads(to_json({"value": value}))


def test_a_line_behind_a_question_is_told_from_the_question() -> None:
    refusal = GraphError("there is no 'camra'; did you mean 'camera'?\n  mean_events(camra)")
    assert one_line(refusal) == "there is no 'camra'; did you mean 'camera'? In: mean_events(camra)"
