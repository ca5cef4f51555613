"""Measure the mapping on the node's own Redis, beside a raw socket that sends and receives the same bytes."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ami.cluster.node import Node
from ami.errors import AmiError
from ami.lab.bench.busy import Usage, between, pids, usage
from ami.lab.bench.figure import Measured
from ami.lab.bench.measure import Bench
from ami.lab.bench.private import undisturbed
from ami.stores import Store, open_local
from ami.stores.wire import SEND_BYTES

SIZES = {"8k": 8 << 10, "8m": 8 << 20}
WAIT_S = 10.0


def store_speed(bench: Bench) -> dict[str, Measured]:
    """Measure setting and getting an array of each size."""
    node = Node(programs=("local-redis",))
    found: dict[str, Measured] = {}
    try:
        node.start()
        store = open_local(node.config.local_store, "bench:client:0")
        try:
            with _raw(node.config.local_store.socket) as raw:
                for name, size in SIZES.items():
                    calls = bench.times(*((400, 100) if size < 1 << 20 else (20, 5)))
                    found |= _compared(node, store, raw, name, size, calls, bench.times(7, 4))
        finally:
            store.close()
    finally:
        with undisturbed():
            node.stop()
    return found


def _compared(
    node: Node, store: Store, raw: Raw, name: str, size: int, calls: int, repeats: int
) -> dict[str, Measured]:
    """Measure ami and the raw socket in turn, in rounds of ``calls`` calls."""
    array = np.arange(size // 8, dtype=np.float64)
    content = array.tobytes()
    into = bytearray(len(content))

    def put() -> None:
        store["array"] = array

    def get() -> None:
        if store["array"].nbytes != size:
            raise AmiError("the store gave another array back")

    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "set": (put, lambda: raw.set(b"raw", content)),
        "get": (get, lambda: raw.get(b"raw", into)),
    }
    found = {}
    for verb, (ours, theirs) in ways.items():
        processes = pids(node)
        before = usage(processes)
        samples, limits = [], []
        for _ in range(repeats):
            limits.append(_microseconds(theirs, calls))
            samples.append(_microseconds(ours, calls))
        found[f"store_{verb}_{name}"] = Measured(
            samples=samples,
            limit=statistics.median(limits),
            limit_is=f"a raw socket's {verb.upper()} of the same {size} bytes, in turn with it",
            limited_by=_said(before, usage(processes)),
            notes=(f"medians of {calls} calls",),
        )
    if bytes(into) != content:
        raise AmiError("the raw socket got other bytes than it set")
    return found


def _said(before: Usage, after: Usage) -> str:
    share = between(before, after).shares.get("local-redis", 0.0)
    return f"the server and the kernel's copies through the socket; local-redis busy {share:.0%} of a core"


def _microseconds(call: Callable[[], object], times: int) -> float:
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


class Raw:
    """SET and GET over a bare unix socket, with nothing around them."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    def set(self, key: bytes, content: bytes) -> None:
        """Store bytes and wait for the answer."""
        head = b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n" % (len(key), key, len(content))
        parts = [memoryview(head), memoryview(content), memoryview(b"\r\n")]
        while parts:
            sent = self._socket.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][sent:]
        if (answer := self._socket.recv(64)) != b"+OK\r\n":
            raise AmiError(f"the raw SET was answered by {answer!r}")

    def get(self, key: bytes, into: bytearray) -> None:
        """Receive a value of ``len(into)`` bytes."""
        self._socket.sendall(b"*2\r\n$3\r\nGET\r\n$%d\r\n%b\r\n" % (len(key), key))
        head = b"$%d\r\n" % len(into)
        begin = self._socket.recv(1 << 16)
        while len(begin) < len(head):
            begin += self._socket.recv(1 << 16)
        if not begin.startswith(head):
            raise AmiError(f"the raw GET was answered by {begin[:64]!r}")
        body = begin[len(head) :][: len(into)]
        into[: len(body)] = body
        received, wanted = len(begin) - len(head), len(into) + 2
        view = memoryview(into)
        while received < len(into):
            received += self._socket.recv_into(view[received:])
        while received < wanted:
            received += len(self._socket.recv(wanted - received))


@contextmanager
def _raw(path: Path) -> Iterator[Raw]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connected:
        connected.settimeout(WAIT_S)
        connected.connect(str(path))
        # As ami's own: what the kernel takes at once decides over the time of 8 MiB.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        # Python's time-out is a poll() before each call; the alarm of the run is enough.
        connected.settimeout(None)
        yield Raw(connected)
