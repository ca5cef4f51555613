"""Folders in shared memory: found again, brought to the disk, given back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.cluster import memory

HOLD = (
    "import sys; from pathlib import Path; from ami.cluster import memory; memory.hold(Path(sys.argv[1])); "
)
HOLD += "print(flush=True); sys.stdin.read()"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "local-store"
    path.mkdir()
    yield path
    memory.discard(path)


def test_what_is_on_the_disk_is_taken_into_memory_and_back(folder: Path) -> None:
    (folder / memory.FILES).mkdir()
    (folder / memory.FILES / "a").write_text("old")
    place = memory.to_memory(folder)
    assert place.parent == memory.FOLDER
    assert place.stat().st_mode & 0o777 == 0o700
    assert (place / memory.FILES / "a").read_text() == "old"
    assert not (folder / memory.FILES).exists(), "after a power cut it would be older than other files"
    (place / memory.FILES / "a").write_text("new")
    assert memory.to_memory(folder) == memory.find(folder) == place
    assert memory.used_bytes(folder) > 0
    assert memory.to_disk(folder)
    assert (folder / memory.FILES / "a").read_text() == "new"
    assert not place.exists()
    assert memory.find(folder) is None
    assert memory.used_bytes(folder) == 0
    assert not memory.to_disk(folder)


def test_a_folder_in_which_a_server_runs_is_neither_saved_nor_reclaimed(folder: Path, tmp_path: Path) -> None:
    place = memory.to_memory(folder)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with pytest.raises(BlockingIOError, match="a server still runs"):
            os.close(memory._take(place, within_s=0))
        # Somebody removes the node's folder under it.
        (folder / "memory").rename(tmp_path / "link")
        memory._reclaim_lost()
        assert place.exists()
        server.communicate()
    memory._reclaim_lost()
    assert not place.exists()


def test_a_copy_of_a_node_does_not_take_the_memory_of_the_first(folder: Path, tmp_path: Path) -> None:
    place = memory.to_memory(folder)
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied, symlinks=True)
    assert memory.find(copied) is None
    other = memory.to_memory(copied)
    assert other != place
    memory.discard(copied)
    assert place.exists()


def test_what_links_elsewhere_is_not_touched(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (folder / "memory").symlink_to(foreign)
    assert memory.find(folder) is None
    memory.discard(folder)
    assert foreign.exists()
    assert memory.to_memory(folder) != foreign
