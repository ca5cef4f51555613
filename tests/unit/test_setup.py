"""What brings a node up: launchers, Makefile, supervisord's and systemd's settings, package description."""

import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ami.config import load
from ami.daemons import __main__ as daemons
from ami.processes import BY_TYPE, DAEMONS, PROCESSES, SERVERS
from tests.waiting import PATIENCE_S

PROJECT = Path(__file__).resolve().parents[2]
# What each launcher hands to Python.
LAUNCHED = {
    "ami": ("ami.cli",),
    "ami-daq": ("ami.cli", "daq"),
    "ami-redis": ("ami.cluster.servers",),
    **{f"ami-{kind}": ("ami.daemons", kind) for kind in DAEMONS},
}
PROGRAMS = sorted(BY_TYPE)


def settings_of(*path: str) -> configparser.RawConfigParser:
    # A setting of systemd may be there more than once.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    parser.read_string(PROJECT.joinpath(*path).read_text())
    return parser


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A project in a folder with blanks in its name: launchers, and a Python that tells how it was called."""
    project = tmp_path / "my projects" / "ami"
    shutil.copytree(PROJECT / "bin", project / "bin")
    python = project / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    return project


def said(*command: str | Path, cwd: Path = Path("/"), **environ: str) -> list[str]:
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", sorted(LAUNCHED))
def test_a_launcher_runs_its_module_with_the_projects_python(copy: Path, name: str) -> None:
    python, path, *arguments = said(copy / "bin" / name, "--id", "a b", "")
    assert python == str(copy / ".venv/bin/python")
    assert path == str(copy)
    assert arguments == ["-P", "-m", *LAUNCHED[name], "--id", "a b", ""]


def test_a_launcher_may_be_called_by_a_link(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "ami").symlink_to(copy / "bin" / "ami")
    assert said(tmp_path / "ami")[-1] == "ami.cli"


def test_a_launcher_may_be_called_by_a_relative_path(copy: Path) -> None:
    assert said("./ami", cwd=copy / "bin")[-1] == "ami.cli"


def test_the_variable_ami_python_goes_before_the_projects_python(copy: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my python"
    mine.write_text("#!/bin/sh\necho mine\n")
    mine.chmod(0o755)
    assert said(copy / "bin" / "ami", AMI_PYTHON=str(mine)) == ["mine"]


def test_a_launcher_without_any_fit_python_says_what_to_do(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / ".venv")
    old = tmp_path / "old" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = subprocess.run(
        [copy / "bin" / "ami"],
        env={"PATH": f"{old.parent}:{os.defpath}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "make install" in done.stderr


def test_a_file_named_like_a_library_in_the_current_folder_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    said(PROJECT / "bin" / "ami", "--help", cwd=tmp_path, AMI_PYTHON=sys.executable)


def test_there_is_a_launcher_and_an_entry_point_for_each_program() -> None:
    assert {path.name for path in (PROJECT / "bin").iterdir()} == {*LAUNCHED, "launch"}
    scripts = settings_of("setup.cfg")["options.entry_points"]["console_scripts"].split("\n")
    homes = {"ami": "ami.cli:main", "ami-daq": "ami.cli.daq:main", "ami-redis": "ami.cluster.servers:main"}
    assert dict(line.split(" = ") for line in scripts if line) == {
        name: homes.get(name, "ami.daemons.__main__:main") for name in LAUNCHED
    }


@pytest.mark.parametrize("kind", DAEMONS)
def test_a_process_of_the_table_has_a_stage_and_waits_for_others_of_it(kind: str) -> None:
    module, _, name = BY_TYPE[kind].stage.partition(":")
    stage = getattr(importlib.import_module(module), name)
    assert callable(stage.step)
    assert callable(stage.close)
    assert set(BY_TYPE[kind].waits_for) <= BY_TYPE.keys() - {kind}


@pytest.mark.parametrize("name", ["ami-worker", "__main__.py"])
def test_a_daemon_is_known_by_its_name_or_by_the_first_word(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", [f"/some/{name}", *(["worker"] if name == "__main__.py" else []), "--help"]
    )
    with pytest.raises(SystemExit):
        daemons.main()
    text = capsys.readouterr().out
    assert text.startswith("usage: ami-worker")
    assert BY_TYPE["worker"].help in text


def test_a_daemon_that_nobody_knows_is_refused_with_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["__main__.py", "wroker"])
    assert daemons.main() == 2
    assert "source, worker, local-reducer" in capsys.readouterr().err


def test_supervisord_starts_what_the_table_says_and_stops_monitor_and_source_first() -> None:
    settings = settings_of("conf", "supervisord.conf")
    sections = {name.removeprefix("program:") for name in settings.sections() if name.startswith("program:")}
    assert sections == BY_TYPE.keys()
    in_order = sorted(PROCESSES, key=lambda process: process.priority)
    assert {process.type for process in in_order[:3]} == set(SERVERS)
    assert [process.type for process in in_order][-2:] == ["source", "monitor"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_supervisord_restarts_a_bug_but_not_wrong_settings(program: str) -> None:
    section = settings_of("conf", "supervisord.conf")[f"program:{program}"]
    process = BY_TYPE[program]
    assert section["autorestart"] == "unexpected"
    assert section["exitcodes"] == "0,2"
    assert section.getint("priority") == process.priority
    assert section.getint("numprocs", 1) == process.count
    launcher = re.fullmatch(r'(?:nice -n 5 )?"%\(here\)s/\.\./bin/([a-z-]+)"(.*)', section["command"])
    assert launcher is not None
    assert f"{launcher[1]}{launcher[2]}".removesuffix(" --id %(process_num)d") == process.command


def test_supervisord_gives_the_source_the_time_to_drain() -> None:
    section = settings_of("conf", "supervisord.conf")["program:source"]
    assert section.getfloat("stopwaitsecs") > load(environ={}).source.drain_s


def test_supervisord_and_the_settings_name_the_same_socket() -> None:
    settings = settings_of("conf", "supervisord.conf")
    path = settings["unix_http_server"]["file"].replace("%(here)s", str(PROJECT / "conf"))
    assert Path(os.path.abspath(path)) == load(environ={}).monitor.supervisor_socket
    assert settings["supervisorctl"]["serverurl"] == f"unix://{settings['unix_http_server']['file']}"


def test_the_folder_for_logs_comes_with_a_clone() -> None:
    ignored = (PROJECT / ".gitignore").read_text().split()
    assert "!/var/log/.gitkeep" in ignored
    if (PROJECT / ".git").exists():
        assert said("git", "-C", PROJECT, "ls-files", "var", HOME="/", PATH=os.environ["PATH"]) == [
            "var/log/.gitkeep"
        ]


def test_make_help_names_every_target_that_is_meant_for_people() -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    text = "\n".join(said("make", "help", cwd=PROJECT, PATH=os.environ["PATH"]))
    for target in ("help", "run", "install", "test", "check", "up", "down", "bench", "clean"):
        assert re.search(rf"^  make {target} +\S", text, re.MULTILINE), target


def test_make_refuses_an_old_python_with_a_clear_message(tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "setup.cfg", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.1\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "install", f"PYTHON={old}"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert "ami needs Python 3.11 or later" in done.stdout
    assert "Python 3.9.1" in done.stdout


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as `make install-systemd` writes them."""
    for program in ("systemd-analyze", "make"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    # What is installed already is not looked at: another Python may run this.
    command = [
        "make",
        "install-systemd",
        "-o",
        ".venv/.installed",
        f"DESTDIR={tmp_path}",
        "SERVICE_USER=beam",
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=PATIENCE_S)
    return tmp_path / "etc/systemd/system"


def test_units_are_of_this_folder_and_of_the_user_that_was_asked_for(units: Path) -> None:
    text = (units / "ami-node.service").read_text()
    assert f"ExecStart={PROJECT}/.venv/bin/supervisord -n -c {PROJECT}/conf/supervisord.conf\n" in text
    assert f"ReadWritePaths={PROJECT}/var /dev/shm\n" in text
    assert "\nUser=beam\nGroup=beam\n" in text
    assert "/opt/ami" not in text
    users = (units / "../../../usr/lib/sysusers.d/ami.conf").read_text()
    assert users.splitlines()[-1].startswith("u beam - ")


def test_systemd_finds_no_fault_in_the_units(units: Path) -> None:
    unit = units / "ami-node.service"
    # Whether the programs are where make install puts them is not what this asks.
    unit.write_text(re.sub(r"(?m)^(Exec\w+)=\S+", r"\1=/bin/true", unit.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", unit, units / "ami.target"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    ours = [line for line in done.stderr.splitlines() if "ami" in line]
    assert (done.returncode, ours) == (0, [])


def test_a_node_is_exposed_as_little_as_it_can_be(units: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", units / "ami-node.service"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is too old to look at a unit that is not installed")
    assert done.returncode == 0, done.stdout[-300:]


def test_a_unit_says_what_a_node_may_take_and_who_it_belongs_to() -> None:
    unit = settings_of("conf", "systemd", "ami-node.service")
    assert unit["Service"]["type"] == "notify"
    assert float(unit["Service"]["watchdogsec"]) >= 30  # supervisord says something every 5 s
    assert unit["Unit"]["partof"] == unit["Install"]["wantedby"] == "ami.target"
    assert {"memorymax", "tasksmax", "limitnofile"} <= set(unit["Service"])


def test_systemd_allows_the_time_that_supervisord_needs_to_stop() -> None:
    unit = (PROJECT / "conf/systemd/ami-node.service").read_text()
    seconds = re.search(r"(?m)^TimeoutStopSec=(\d+)$", unit)
    settings = settings_of("conf", "supervisord.conf")
    programs = [name for name in settings.sections() if name.startswith("program:")]
    assert seconds is not None
    assert int(seconds[1]) > sum(settings.getfloat(name, "stopwaitsecs") for name in programs)


def test_pyproject_says_only_how_to_build() -> None:
    assert set(tomllib.loads((PROJECT / "pyproject.toml").read_text())) == {"build-system"}
