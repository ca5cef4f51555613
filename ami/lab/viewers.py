"""Measure what viewers of the page cost, and how old what they see is, while one of them stands still.

They are in a process of their own, and speak as docs/page-protocol.md says. A result's age is when it is in a
viewer's hands against when it was published; all on one machine, so by one clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect

from ami.client.page import find_page
from ami.cluster import proc
from ami.lab import arena
from ami.lab.arena import Arena
from ami.lab.figures import Bench, Measured, Row, percentile
from ami.lab.machine import Busy

RATE_HZ: Final = 120
SIDE: Final = 1024
SERVED: Final = {"AMI_WEB_HOST": "127.0.0.1", "AMI_RING_BYTES": "0"}
NUMBERS: Final = 9
FIRST_S: Final = 120.0
_GRAPH: Final = "results:\n  image: mean_events(camera)\n" + "".join(
    f"  number{n}: mean_events(key + {n}, window=interval)\n" for n in range(NUMBERS)
)
UNITS: Final = {"cores": "cores", "age_p99": "s", "growth": "MB"}
SAID: Final = {
    "cores": "CPU of the page's process",
    "age_p99": "published → in a viewer's hands, p99",
    "growth": "how much memory (PSS) of the page's process grows",
}
_WORDS = struct.Struct("<II")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Some viewers of ten results, one an image.

    Args:
        size: pixels along a side at which each sees the image.
        lasting_s: how long it is measured.
        may: goals, of some of :data:`SAID`.
        when: see :class:`ami.lab.figures.Row`.
    """

    name: str
    viewers: int
    size: int
    lasting_s: float = 30.0
    may: Mapping[str, float]
    when: str = "full"

    def rows(self) -> list[Row]:
        """Return the figures that it gives."""
        measure = partial(measure_crowd, self)
        said = f"{self.viewers} viewers of {NUMBERS} numbers and {SIDE}² pixels as {self.size}²"
        return [
            Row(measure, f"{self.name}_{kind}", UNITS[kind], less=True, goal=goal, when=self.when,
                what=f"{SAID[kind]}, {said}, one frozen")
            for kind, goal in self.may.items()
        ]  # fmt: skip


CROWDS: Final = (
    Crowd(name="page", viewers=100, size=512, may={"cores": 1.0, "age_p99": 0.5}),
    Crowd(name="page_whole", viewers=3, size=SIDE, may={"cores": 1.0, "age_p99": 0.5}),
    Crowd(name="page_long", viewers=100, size=512, lasting_s=600.0, may={"growth": 10.0}, when="named"),
)


def measure_crowd(crowd: Crowd, bench: Bench) -> Mapping[str, Measured]:
    """Measure the page's process and its viewers for a while."""
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder, _experiment(Path(folder)) as place:
        address = place.wait_for("the page", lambda: _address(place), FIRST_S)
        seconds = bench.choose(crowd.lasting_s, 10.0)
        bench.say(f"{crowd.viewers} viewers for {seconds:g} s, and a frozen one")
        with (
            _view(address, 1, crowd.size, 10 * seconds) as still,
            _view(address, crowd.viewers, crowd.size, seconds) as others,
        ):
            assert others.stdout is not None
            others.stdout.readline()  # all of them look
            os.kill(still.pid, signal.SIGSTOP)
            pids = place.pids()
            before = proc.proportional_bytes(pids["web"])
            with Busy(pids) as busy:
                said = json.loads(others.stdout.readline())
            grown = proc.proportional_bytes(pids["web"]) - before
    late_s, messages = percentile(said["ages_s"], 0.99), said["messages"]
    failures = () if messages >= 5 * crowd.viewers * seconds else (f"only {messages} messages came",)
    notes = (
        f"{messages / crowd.viewers / seconds:.1f} messages a second and viewer",
        f"{said['bytes'] / seconds / 1e6:.0f} MB/s to all",
        f"p50 {percentile(said['ages_s'], 0.5):.3f} s, largest {max(said['ages_s']):.3f} s",
        f"the page's process grew by {grown / 1e6:.1f} MB in {seconds:g} s",
    )
    found = {"cores": busy.shares["web"], "age_p99": late_s, "growth": grown / 1e6}
    common = Measured(busy=busy.to_plain(), failures=failures, notes=notes)
    return {f"{crowd.name}_{kind}": replace(common, value=found[kind]) for kind in crowd.may}


@contextmanager
def _experiment(folder: Path) -> Iterator[Arena]:
    path = folder / "camera.json"
    fields = {
        "key": {"dtype": "Scalar", "range": [0, 8], "integer": True},
        "camera": {"dtype": "Image", "shape": [SIDE, SIDE], "pedestal": 5, "width": 1},
    }
    path.write_text(json.dumps({"interval": 1 / RATE_HZ, "config": fields}))
    with arena.running(
        f"sim://{path}?policy=wait", _GRAPH, first="image", workers=2, settings=SERVED
    ) as place:
        yield place


def _address(place: Arena) -> str:
    return find_page(place.node.config, place.client.status()).partition("/#")[0]


@contextmanager
def _view(address: str, count: int, size: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-m", "ami.lab.viewers", address, str(count), str(size), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def _watch(address: str, size: int, until: asyncio.Event, seen: dict[str, Any]) -> None:
    """Be one viewer."""
    shown: dict[str, Any] = {f"number{n}": {} for n in range(NUMBERS)}
    shown["image"] = {"size": size, "pool": "mean", "scale": "asinh"}
    async with connect(f"{address.replace('http', 'ws')}/live", max_size=None, compression=None) as socket:
        await socket.send(json.dumps({"show": shown}))
        async for message in socket:
            if isinstance(message, str):
                continue
            seen["open"] += 1
            if until.is_set():
                return
            _take(message, seen)
            await socket.send(json.dumps({"ack": _WORDS.unpack_from(message)[0]}))


def _take(message: bytes, seen: dict[str, Any]) -> None:
    """Note the age of the first result in a message: all of one were read at once."""
    head_bytes, _ = _WORDS.unpack_from(message, 8)
    head = json.loads(message[16 : 16 + head_bytes])
    seen["ages_s"].append((time.time_ns() - head["published_ns"]) / 1e9)
    seen["messages"] += 1
    seen["bytes"] += len(message)


async def _look(address: str, count: int, size: int, seconds: float) -> None:
    """Let so many look; say on standard output when all do, and what they saw from then on."""
    until = asyncio.Event()
    seen: dict[str, Any] = {"open": 0, "messages": 0, "bytes": 0, "ages_s": []}
    watching = [asyncio.create_task(_watch(address, size, until, seen)) for _ in range(count)]
    while seen["open"] < 3 * count:
        await asyncio.sleep(0.1)
    seen.update(messages=0, bytes=0, ages_s=[])
    print("all look", flush=True)  # noqa: T201  # the parent reads it
    await asyncio.sleep(seconds)
    told = {name: seen[name] for name in ("messages", "bytes", "ages_s")}
    print(json.dumps(told), flush=True)  # noqa: T201
    until.set()
    await asyncio.gather(*watching, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(_look(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
