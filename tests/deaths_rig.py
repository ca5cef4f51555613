"""Kill -9 a process anywhere: leave shared memory in each state in which its death may leave it.

What a killed process leaves is the last state of its memory; the kernel drops its locks. So a child that
looks at the ring's files before each bytecode finds every such state once. (Rejected: killings at random
moments alone; of 150, most leave what others left, and some states are missed. A few are real, to be sure.)
"""

from __future__ import annotations

import dis
import json
import os
import pickle
import random
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from ami.ring.block import Stretch
from tests.ring_rig import start

FOLDER = Path("/dev/shm")
RING = ("ami/ring/",)
MOST_BYTES = 1 << 24  # of a file
KILLS = 12
# Bytecodes that write nothing but the frame of their function: nobody need look after them.
QUIET = {
    dis.opmap[name]
    for name in (
        "RESUME",
        "LOAD_FAST",
        "LOAD_CONST",
        "STORE_FAST",
        "PUSH_NULL",
        "PRECALL",
        "POP_TOP",
        "LOAD_GLOBAL",
    )
    if name in dis.opmap
}
Memory = dict[str, bytes]  # by file


class Store:
    """Flushes that outlive their worker, in a file: one short write is there as a whole or not at all."""

    def __init__(self, ring: str) -> None:
        self._path = FOLDER / f"{ring[1:]}.store"

    def flush(self, worker: int, what: Any, runs: Sequence[Stretch]) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(json.dumps([worker, what, runs]).encode() + b"\n")

    def _flushes(self) -> list[tuple[int, Any, list[Stretch]]]:
        text = self._path.read_bytes() if self._path.exists() else b""
        return [json.loads(line) for line in text.splitlines()]

    def flushed(self) -> list[Any]:
        return [what for _, what, _ in self._flushes()]

    def covered(self, worker: int) -> list[Stretch]:
        mine = [runs for who, _, runs in self._flushes() if who == worker]
        return [(first, count) for first, count in mine[-1]] if mine else []


def deaths(
    work: Callable[[], None], lay: Callable[[], None], ring: str, rooms: Sequence[str] = RING
) -> Iterator[None]:
    """Leave the ring, which ``lay`` has laid, as ``work`` does that is killed: in each state, one at a time.

    Moments are the bytecodes of these rooms or files.
    """
    lay()
    with tempfile.TemporaryFile() as file:
        watched = start(lambda: _Watcher(ring, rooms).write(work, file))
        assert os.waitpid(watched, 0)[1] == 0, "the child failed by itself"
        file.seek(0)
        bytecodes, memories = pickle.load(file)
    assert len(memories) > 10, f"{len(memories)} states"
    for memory in memories:
        forget(ring)
        for name, content in memory.items():
            (FOLDER / name).write_bytes(content)
        yield
    killed = 0
    for moment in random.Random(20180912).sample(range(bytecodes), KILLS):
        forget(ring)
        lay()
        killed += _is_killed(work, moment, rooms)
        yield
    assert killed > KILLS // 2


def forget(ring: str) -> None:
    """Remove every file of this ring, its store's too."""
    for entry in _files(ring):
        os.unlink(entry)


def _files(ring: str) -> list[os.DirEntry[str]]:
    with os.scandir(FOLDER) as entries:
        mine = (entry for entry in entries if ring[1:] in entry.name)
        return [entry for entry in mine if entry.name.removeprefix("sem.").split(".")[0] == ring[1:]]


class _Watcher:
    """Keeps each state of a ring's files while something works on them."""

    def __init__(self, ring: str, rooms: Sequence[str]) -> None:
        self._ring, self._rooms = ring, rooms
        self._open: dict[tuple[str, int], int] = {}
        self._memories: list[Memory] = []
        self._bytecodes = 0
        self._is_quiet = False  # the bytecode before

    def write(self, work: Callable[[], None], file: IO[bytes]) -> None:
        _each_bytecode(work, self._rooms, self._count)
        self._look()
        # What did not change is one object in all states, which pickle writes once.
        pickle.dump((self._bytecodes, self._memories), file)
        file.flush()

    def _count(self, frame: FrameType) -> None:
        self._bytecodes += 1
        if not self._is_quiet:
            self._look()
        self._is_quiet = frame.f_code.co_code[frame.f_lasti] in QUIET

    def _look(self) -> None:
        last = self._memories[-1] if self._memories else {}
        memory, changed = {}, False
        for entry in _files(self._ring):
            content = os.pread(self._descriptor(entry), MOST_BYTES, 0)
            before = last.get(entry.name)
            changed = changed or content != before
            memory[entry.name] = before if before is not None and content == before else content
        if changed or len(memory) != len(last):
            self._memories.append(memory)

    def _descriptor(self, entry: os.DirEntry[str]) -> int:
        # An open file keeps its number: another file of this name has another.
        file = (entry.name, entry.inode())
        if file not in self._open:
            self._open[file] = os.open(entry, os.O_RDONLY)
        return self._open[file]


def _each_bytecode(work: Callable[[], None], rooms: Sequence[str], act: Callable[[FrameType], None]) -> None:
    """Call ``act`` before each bytecode of these rooms."""

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        if not any(room in frame.f_code.co_filename for room in rooms):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            act(frame)
        return trace

    sys.settrace(trace)
    work()
    sys.settrace(None)


def _is_killed(work: Callable[[], None], moment: int, rooms: Sequence[str]) -> bool:
    """Run ``work`` in a child that kills itself after so many bytecodes; False: it came to its end before."""
    left = moment

    def die(_: FrameType) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(start(lambda: _each_bytecode(work, rooms, die)), 0)
    assert status == 0 or os.WIFSIGNALED(status), "the child failed by itself"
    return os.WIFSIGNALED(status)
