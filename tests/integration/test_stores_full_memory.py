"""A full /dev/shm: the server refuses writes and lives, and goes on when there is room.

The test has a small /dev/shm of its own, in a namespace of its own, and runs this file there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ami.cluster import memory, servers
from ami.config import LocalStoreConfig
from ami.daemons.monitor.files import Files
from ami.errors import StoreFull
from ami.stores import Store, open_local
from ami.stores.client import LocalLink
from ami.stores.server import LocalServerLink
from tests.conftest import PREFIX, Server, answers
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
ALONE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = "mount -t tmpfs -o size=100m tmpfs /dev/shm"


def test_a_full_shared_memory_is_told_and_waited_out(short_path: Path) -> None:
    if subprocess.run([*ALONE, MOUNT], capture_output=True, check=False).returncode:
        pytest.skip("nobody may have a /dev/shm of his own here")
    folder = short_path / "full"
    folder.mkdir(mode=0o700)
    command = f'{MOUNT} && exec "$0" -P "$@"'
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [*ALONE, command, sys.executable, __file__, str(folder)],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "waiting: /dev/shm has 1 MiB left, 64 are needed" in done.stderr
    assert "cannot append to its file: MISCONF" in done.stdout
    shutil.rmtree(folder)


def play(folder: Path) -> None:
    """Fill this /dev/shm before a server starts, and again while it runs."""
    config = LocalStoreConfig(socket=folder / "s")
    filler = memory.FOLDER / "filler"
    filler.write_bytes(bytes(memory.free_bytes() - (1 << 20)))
    threading.Timer(1.5, filler.unlink).start()
    command = servers.patiently(lambda: servers.prepare_local(config, folder / "local"))
    with Server(command).running() as server:
        store = open_local(config, PREFIX)
        wait_until(lambda: answers(LocalLink(config)), what="the server")
        store["x0"] = np.zeros(1 << 17)
        own, files = LocalServerLink(config), Files()
        assert files.look("s", own)
        own.ask("BGREWRITEAOF")  # from then on it cuts at a wrong place what it could write in part
        wait_until(lambda: own.facts("INFO", "persistence")["aof_rewrite_in_progress"] == "0", what="its end")
        filler.write_bytes(bytes(memory.free_bytes() - (3 << 20)))
        with pytest.raises(StoreFull) as caught:
            write_much(store)
        sys.stdout.write(str(caught.value))
        (trouble,) = store.troubles()
        assert trouble.startswith("cannot append to its file and takes nothing")
        assert not files.look("s", own)
        assert server.process is not None
        assert server.process.poll() is None
        assert len(store["x0"]) == 1 << 17  # type: ignore[arg-type]
        filler.unlink()
        wait_until(lambda: is_taken(store), what="a server that takes values again")
        assert store.troubles() == ()
        late = Files()  # who did not look while it lasted
        assert not late.look("s", own)
        wait_until(lambda: late.look("s", own), what="a file that is whole")
        server.kill()
        server.start()
        wait_until(lambda: answers(LocalLink(config)), what="the server again")
        assert store["y"] == 1
        assert len(store["x0"]) == 1 << 17  # type: ignore[arg-type]
        own.close()
    memory.discard(folder / "local")
    assert not list(memory.FOLDER.iterdir())


def write_much(store: Store) -> None:
    for number in range(200):
        store[f"x{number % 4}"] = np.zeros(1 << 17)


def is_taken(store: Store) -> bool:
    try:
        store["y"] = 1
    except StoreFull:
        return False
    return True


if __name__ == "__main__":
    play(Path(sys.argv[1]))
