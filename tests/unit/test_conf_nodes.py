"""The play of three machines: it can be read, and all that it calls is there and takes what it is given."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ami.cli.group import ami
from ami.config import load

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / "conf" / "nodes"
MODULES = {"copy", "lineinfile", "systemd", "command"}  # of Ansible itself
KEYWORDS = {"name", "become_user", "loop", "run_once", "throttle"}
SETTINGS = (PROJECT / "conf" / "ami.toml").read_text()


def read_play() -> dict[str, Any]:
    (play,) = yaml.safe_load((FOLDER / "play.yaml").read_text())
    return play


TASKS = read_play()["tasks"]


@pytest.mark.parametrize("task", TASKS, ids=[task["name"] for task in TASKS])
def test_each_task_is_one_thing_that_ansible_can_do(task: dict[str, Any]) -> None:
    assert len(task.keys() - KEYWORDS) == 1
    assert task.keys() - KEYWORDS <= MODULES
    assert task["name"]


@pytest.mark.parametrize("words", [task["command"].split() for task in TASKS if "command" in task])
def test_each_command_is_one_of_ami_with_options_that_it_has(words: list[str]) -> None:
    assert words[:3] == ["{{", "ami", "}}"]
    command: click.Command = ami
    words, context = words[3:], click.Context(ami)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None
        command = found
    taken = {one for parameter in command.params for one in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= taken
    assert not words or command.params


def test_each_line_that_it_sets_is_there_once_and_is_a_setting_afterwards(tmp_path: Path) -> None:
    written = SETTINGS.split("\n")
    facts = {
        "{{ inventory_hostname }}": "node1",
        "{{ address }}": "10.0.0.1",
        "{{ seeds | to_json }}": '["10.0.0.1:7379", "10.0.0.2:7379", "10.0.0.3:7379"]',
    }
    (lines,) = [task["loop"] for task in TASKS if "loop" in task]
    for line in lines:
        new = line["line"]
        for name, value in facts.items():
            new = new.replace(name, value)
        assert "{{" not in new
        # The first line that fits is replaced as a whole.
        places = [place for place, text in enumerate(written) if re.search(line["at"], text)]
        assert places, line["at"]
        written[places[0]] = new
    path = tmp_path / "ami.toml"
    path.write_text("\n".join(written))
    config = load(path, environ={})
    assert config.node.host == "node1"
    assert config.global_store.host == "10.0.0.1"
    assert config.global_store.start_nodes == ("10.0.0.1:7379", "10.0.0.2:7379", "10.0.0.3:7379")


def test_the_inventory_has_three_machines_with_what_the_play_asks_for() -> None:
    play, inventory = read_play(), configparser.ConfigParser(allow_no_value=True, delimiters=("\0",))
    inventory.read(FOLDER / "inventory.ini")
    machines = [line.split() for line in inventory["nodes"]]
    assert [name for name, _ in machines] == ["node1", "node2", "node3"]
    assert all(re.fullmatch(r"address=[0-9.]+", address) for _, address in machines)
    assert play["hosts"] == "nodes"
    assert "ami_folder" in "".join(inventory["nodes:vars"])
    (unit,) = [task["systemd"]["name"] for task in TASKS if "systemd" in task]
    assert (PROJECT / "conf" / "systemd" / f"{unit}.service").exists()
