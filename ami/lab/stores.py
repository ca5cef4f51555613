"""Measure the mapping on the node's own Redis, beside a raw socket that sends and receives the same bytes."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from ami.cluster.node import Node
from ami.errors import AmiError
from ami.event import Array
from ami.lab.figures import Bench, Measured, measure_in_turn
from ami.lab.machine import Busy
from ami.stores import Store, open_local
from ami.stores.wire import SEND_BYTES

SIZES = {"8k": 8 << 10, "8m": 8 << 20}
CALLS = {"8k": (400, 100), "8m": (20, 5)}  # usual, quick


def store_speed(bench: Bench) -> Mapping[str, Measured]:
    """Measure setting and getting an array of each size."""
    found: dict[str, Measured] = {}
    with (
        Node(programs=("local-redis",)) as node,
        closing(open_local(node.config.local_store, "bench:client:0")) as store,
    ):
        for name, size in SIZES.items():
            array, calls = np.arange(size // 8, dtype=np.float64), bench.choose(*CALLS[name])
            with closing(Raw(node.config.local_store.socket, array.tobytes())) as raw:
                for verb, ours, theirs in (("set", _put, raw.set), ("get", _get, raw.get)):
                    own = partial(_microseconds, partial(ours, store, array), calls)
                    with Busy({"local-redis": node.pid("local-redis")}) as busy:
                        both = measure_in_turn(bench.choose(7, 4), own, partial(_microseconds, theirs, calls))
                    found[f"store_{verb}_{name}"] = Measured(
                        **both,
                        limit_is=f"a raw socket's {verb.upper()} of the same {size} bytes, in turn with it",
                        limited_by="the server and the kernel's copies through the socket; "
                        f"local-redis busy {busy.sum:.0%} of a core",
                        notes=(f"medians of {calls} calls",),
                    )
    return found


def _put(store: Store, array: Array) -> None:
    store["array"] = array


def _get(store: Store, array: Array) -> None:
    if store["array"].nbytes != array.nbytes:
        raise AmiError("the store gave another array back")


def _microseconds(call: Callable[[], object], times: int) -> float:
    call()
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1e6


class Raw:
    """SET and GET of some bytes over a bare unix socket, with nothing around them."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._set = b"*3\r\n$3\r\nSET\r\n$3\r\nraw\r\n$%d\r\n%b\r\n" % (len(content), content)
        self._answer = bytearray(b"$%d\r\n%b\r\n" % (len(content), bytes(len(content))))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # As ami's own: what the kernel takes at once decides over the time of 8 MiB.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        # No time-out: Python's is a poll() before each call; the alarm of the run is enough.
        self._socket.connect(str(path))

    def set(self) -> None:
        """Store the bytes and wait for the answer."""
        self._socket.sendall(self._set)
        if (answer := self._socket.recv(64)) != b"+OK\r\n":
            raise AmiError(f"the raw SET was answered by {answer!r}")

    def get(self) -> None:
        """Receive them."""
        self._socket.sendall(b"*2\r\n$3\r\nGET\r\n$3\r\nraw\r\n")
        view, received = memoryview(self._answer), 0
        while received < len(view):
            received += self._socket.recv_into(view[received:])

    def close(self) -> None:
        """End.

        Raises:
            AmiError: other bytes were received than sent.
        """
        self._socket.close()
        if not self._set.endswith(self._answer):
            raise AmiError("the raw socket got other bytes than it set")
