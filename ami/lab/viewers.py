"""Measure what a hundred viewers of the page cost, and how old what they see is, one of them standing still.

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
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect

from ami.client.page import find_page
from ami.cluster import proc
from ami.lab import arena
from ami.lab.arena import Arena
from ami.lab.figures import Bench, Measured, percentile
from ami.lab.machine import Busy

VIEWERS: Final = 100
RATE_HZ: Final = 120
SIDE: Final = 1024
SHOWN: Final = {"size": 512, "pool": "mean", "scale": "asinh"}
SERVED: Final = {"AMI_WEB_HOST": "127.0.0.1", "AMI_RING_BYTES": "0"}
NUMBERS: Final = 9
FIRST_S: Final = 120.0
_GRAPH: Final = "results:\n  image: mean_events(camera)\n" + "".join(
    f"  number{n}: mean_events(key + {n}, window=interval)\n" for n in range(NUMBERS)
)
_WORDS = struct.Struct("<II")


def page_viewers(bench: Bench) -> Mapping[str, Measured]:
    """Measure the page's process and its viewers for some seconds."""
    with tempfile.TemporaryDirectory(prefix="ami-bench-") as folder, _experiment(Path(folder)) as place:
        address = place.wait_for("the page", lambda: _address(place), FIRST_S)
        seconds = bench.choose(30.0, 10.0)
        bench.say(
            f"{VIEWERS} viewers of {NUMBERS + 1} results, one an image of {SIDE}×{SIDE}, and a frozen one"
        )
        with _view(address, 1, 10 * seconds) as still, _view(address, VIEWERS, seconds) as others:
            assert others.stdout is not None
            others.stdout.readline()  # all of them look
            os.kill(still.pid, signal.SIGSTOP)
            pids = place.pids()
            before = proc.proportional_bytes(pids["web"])
            with Busy(pids) as busy:
                said = json.loads(others.stdout.readline())
            grown = proc.proportional_bytes(pids["web"]) - before
    late_s, messages = percentile(said["ages_s"], 0.99), said["messages"]
    failures = [] if messages >= 5 * VIEWERS * seconds else [f"only {messages} messages came"]
    if grown > 64 << 20:
        failures.append(f"the page's process grew by {grown >> 20} MiB meanwhile")
    notes = (
        f"{messages / VIEWERS / seconds:.1f} messages a second and viewer",
        f"{said['bytes'] / seconds / 1e6:.0f} MB/s to all",
        f"p50 {percentile(said['ages_s'], 0.5):.3f} s, largest {max(said['ages_s']):.3f} s",
        f"the page's process grew by {grown / 1e6:.1f} MB in {seconds:g} s",
    )
    return {
        "page_cores": Measured(
            value=busy.shares["web"], busy=busy.to_plain(), failures=tuple(failures), notes=notes
        ),
        "page_age_p99": Measured(value=late_s, failures=tuple(failures), notes=notes),
    }


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
def _view(address: str, count: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-P", "-m", "ami.lab.viewers", address, str(count), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def _watch(address: str, until: asyncio.Event, seen: dict[str, Any]) -> None:
    """Be one viewer."""
    shown: dict[str, Any] = {f"number{n}": {} for n in range(NUMBERS)} | {"image": SHOWN}
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


async def _look(address: str, count: int, seconds: float) -> None:
    """Let so many look; say on standard output when all do, and what they saw from then on."""
    until = asyncio.Event()
    seen: dict[str, Any] = {"open": 0, "messages": 0, "bytes": 0, "ages_s": []}
    watching = [asyncio.create_task(_watch(address, until, seen)) for _ in range(count)]
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
    asyncio.run(_look(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
