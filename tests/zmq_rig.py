"""Senders of ``zmq://`` for tests: the one of the documentation, and one that sends any bytes."""

from __future__ import annotations

import importlib.util
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import msgpack
import numpy as np
import zmq

from tests.waiting import PATIENCE_S

DOCS = Path(__file__).parents[1] / "docs"


def documented(name: str = "zmq_sender") -> Any:
    """Return the module of a sender that people copy."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Sender:
    """Sends messages of ``zmq://`` and waits, unlike a PUB, until somebody is there to hear them.

    Args:
        kind: "sub" or "pull": what the receiver is.
        packed: headers in msgpack instead of JSON.
    """

    def __init__(
        self, port: int | None = None, *, kind: str = "sub", packed: bool = False, session: Any = "s"
    ) -> None:
        self.port = port or free_port()
        self._context = zmq.Context()
        # An XPUB is a PUB that hears of its subscribers.
        self.socket = self._context.socket(zmq.XPUB if kind == "sub" else zmq.PUSH)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.SNDTIMEO, int(PATIENCE_S * 1000))
        self._kind = kind
        self._packed = packed
        self.session = session
        self.sequence = 0
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.socket.bind(f"tcp://127.0.0.1:{self.port}")
                break
            except zmq.ZMQError:  # that of a predecessor, which the kernel has not let go yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def wait_for(self, joining: bytes = b"\x01") -> None:
        """Wait until somebody subscribes, or (0) is gone."""
        while self._kind == "sub":
            assert self.socket.poll(int(PATIENCE_S * 1000)), "nobody subscribes"
            if self.socket.recv()[:1] == joining:
                return

    def raw(self, *frames: Any) -> None:
        self.socket.send_multipart(frames)

    def header(self, **entries: Any) -> bytes:
        import json

        packed: bytes = msgpack.packb(entries) if self._packed else json.dumps(entries).encode()
        return packed

    def send(self, timestamp_ns: Any, *, more: dict[str, Any] | None = None, **values: Any) -> None:
        """Send one event; a block of them where ``timestamp_ns`` is an array."""
        arrays = {name: np.asarray(value) for name, value in values.items()}
        head: dict[str, Any] = {"sequence": self.sequence}
        if self.session is not None:
            head["session"] = self.session
        count = 1
        if np.ndim(timestamp_ns):
            times = np.asarray(timestamp_ns, np.int64)
            arrays = {"timestamp": times} | arrays
            count = head["events"] = len(times)
        else:
            head["timestamp"] = timestamp_ns
        axis = 1 if "events" in head else 0
        head["fields"] = [
            {"name": name, "dtype": a.dtype.str, "shape": list(a.shape[axis:])} for name, a in arrays.items()
        ]
        self.raw(self.header(**{**head, **(more or {})}), *(a.tobytes() for a in arrays.values()))
        self.sequence += count

    def say(self, transition: str, value: float = 0.0) -> None:
        self.raw(
            self.header(sequence=self.sequence, session=self.session, transition=transition, value=value)
        )

    def close(self) -> None:
        self.socket.close()
        self._context.term()

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
