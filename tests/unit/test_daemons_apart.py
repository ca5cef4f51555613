"""Calls in a child process: what hangs is found, whatever else the machine has to do."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ami.daemons.process.apart import HANGS, call_apart
from tests import ring_rig

LIMIT_S = 0.2
NEEDS_S = 0.1


def compute() -> str:
    began = time.thread_time()
    while time.thread_time() - began < NEEDS_S:
        pass
    return "done"


@pytest.fixture
def _loaded() -> Iterator[None]:
    """One core for this process and six others that want all of it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})

    def want_all() -> None:
        while True:
            pass

    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(ring_rig.child(want_all))
        yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("_loaded")
def test_who_waits_for_a_core_does_not_hang() -> None:
    began = time.monotonic()
    assert call_apart(compute, timeout_s=LIMIT_S) == ("done", "")
    assert time.monotonic() - began > LIMIT_S, "the machine was not loaded: this shows nothing"


@pytest.mark.parametrize("how", ["loop", "sleep", "wait"])
def test_who_does_not_come_to_an_end_does(how: str) -> None:
    def hang() -> str:
        while how == "loop":
            pass
        if how == "wait":
            os.read(os.pipe()[0], 1)
        time.sleep(1000)
        return ""

    assert call_apart(hang, timeout_s=LIMIT_S) == ("", f"{HANGS} {LIMIT_S:g} s")


def test_what_moves_does_not_hang_and_a_limit_by_the_clock_can_be_set() -> None:
    def sleep() -> str:
        time.sleep(1)
        return "woken"

    assert call_apart(sleep, timeout_s=0.1, moved=time.monotonic) == ("woken", "")
    assert call_apart(sleep, timeout_s=100, most_s=0.1)[1].startswith(HANGS)
