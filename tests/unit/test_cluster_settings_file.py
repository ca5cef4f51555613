"""Settings are changed in the operator's file, and nothing else of it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ami.cluster import settings_file
from ami.config import PROJECT_FILE, load
from ami.errors import ConfigError

NEW = {"global_store": {"host": "10.0.0.1", "start_nodes": ["10.0.0.1:7379", "10.0.0.2:7379"]}}


def test_only_the_lines_of_the_settings_change(tmp_path: Path) -> None:
    path = tmp_path / "ami.toml"
    before = PROJECT_FILE.read_text()
    path.write_text(before)
    path.chmod(0o640)
    assert [text.partition(" ")[0] for text in settings_file.change(path, NEW)] == [
        "global_store.host", "global_store.start_nodes",
    ]  # fmt: skip
    changed = [
        new for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True) if old != new
    ]
    assert changed == ['host = "10.0.0.1"', 'start_nodes = ["10.0.0.1:7379", "10.0.0.2:7379"]']
    assert path.stat().st_mode & 0o777 == 0o640
    assert load(path, {}).global_store.start_nodes == ("10.0.0.1:7379", "10.0.0.2:7379")
    assert load(path, {}).node.host == load(PROJECT_FILE, {}).node.host  # [node] has a host too
    assert settings_file.change(path, NEW) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[node]\nhost = 'a'\n",
        "[global_store]\n",
        "[global_store]\nport = 1 # mine\n[ring]\nbytes = 4096\n",
        "[global_store] # here\nstart_nodes = [\n  'a:1', # one\n  'b:2',\n]\nport = 5\n",
        "[global_store]\nhost='x'\nstart_nodes=['a:1']\n",
    ],
)
def test_a_file_of_any_form_gets_them_and_keeps_the_rest(text: str) -> None:
    before, after = tomllib.loads(text), tomllib.loads(settings_file.with_settings(text, NEW))
    assert after.pop("global_store") == before.pop("global_store", {}) | NEW["global_store"]
    assert after == before


def test_what_a_variable_goes_before_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ami.toml"
    monkeypatch.setenv("AMI_GLOBAL_STORE_HOST", "10.0.0.9")
    with pytest.raises(ConfigError, match="AMI_GLOBAL_STORE_HOST=10.0.0.9 goes before"):
        settings_file.change(path, NEW)
    assert not path.exists()
    monkeypatch.setenv("AMI_GLOBAL_STORE_HOST", "10.0.0.1")
    assert settings_file.change(path, NEW)


def test_a_file_that_is_written_otherwise_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ami.toml"
    path.write_text("global_store = {host = 'x'}\n")
    with pytest.raises(ConfigError, match="cannot be changed"):
        settings_file.change(path, NEW)
    assert path.read_text() == "global_store = {host = 'x'}\n"
