"""Look at somebody's result while something is done to a node under load, and say what he noticed.

A guest does something, and takes it back. Meanwhile a witness looks at a result of somebody else, of each
interval: how old it gets, and whether it is complete. Counted is what of his events was lost to the guest,
and how long it took until the node was well after the guest had gone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ami.client import connect
from ami.errors import AmiError
from ami.graph.execution.partial import OFF
from ami.lab import arena
from ami.lab.arena import Arena, NotYet
from ami.result import Result

RATE_HZ = 2000
SETTINGS = {"AMI_WORKER_MEMORY_BYTES": str(1 << 30)}  # who takes all of it does not take the machine's
WITNESS = "witness"
WITNESSES = f"""
results:
  {WITNESS}: count(monitor, window=interval)
  shots: count(monitor)
  numbers: sum_events(sequence)
"""
GUEST = "guest"
OLD_S = 0.5  # a result of each interval that is older than this is late
QUIET_S = 1.5  # for so long nothing is late before a guest's harm is over
STAYS_S = 30.0  # that a guest does harm, at most
WELL_S = 100.0  # until it is given up
LOOK_S = 0.02

Progress = Callable[[int, int, str], object]


def tell_of_guest(place: Arena) -> str:
    """Return what the guest's own result says that is wrong, or status of it."""
    result = place.client.results().get(GUEST)
    if result is not None and result.error is not None:
        return result.error
    # A large result is published as often as its size allows; that may be a while.
    return next((line for line in place.client.status().warnings if f" {GUEST!r} " in line), "nothing")


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who does something to a node.

    ``come`` does it, ``go`` takes it back. Who is denied has done no harm. ``until_off``: he stays
    until what he does is switched off, or for long; otherwise until others have noticed nothing for a while.
    ``tell`` returns what he, or the operator, is told.
    """

    deed: str
    come: Callable[[Arena], object]
    go: Callable[[Arena], object]
    until_off: bool = False
    tell: Callable[[Arena], str] = tell_of_guest


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What others noticed of a guest. Times in s.

    ``told``: to the guest: by the denial, or by his result. ``usual_age``, ``oldest``: of the witness'
    result, before he came and while he was there. ``late``: how long after he came it was late or partial for
    the last time. ``set_aside``: events that nobody got because of him. ``exact``: each other event is in
    others' results once. ``well``: after he went.
    """

    deed: str
    told: str
    usual_age: float
    oldest: float
    late: float
    set_aside: int
    exact: bool
    well: float


def run(
    guests: Sequence[Guest], *, workers: int, progress: Progress, below: Path = Path("/tmp")
) -> list[Notice]:
    """Start a private node, with its folder below ``below``, let the guests come and go, and stop it.

    After a guest of whom the node is not well in time the others get another node.
    """
    found: list[Notice] = []
    uri = f"sim://pump-probe?rate={RATE_HZ}&policy=wait"
    while len(found) < len(guests):
        progress(len(found), len(guests), "starting a node")
        with arena.running(
            uri, WITNESSES, name="guests", first=WITNESS, workers=workers, settings=SETTINGS, below=below
        ) as place:
            for guest in guests[len(found) :]:
                progress(len(found), len(guests), guest.deed)
                try:
                    found.append(_receive(place, guest))
                except AmiError as error:
                    found.append(_give_up(guest, error))
                    break
    return found


def _give_up(guest: Guest, error: AmiError) -> Notice:
    """Return what is known of a guest after whom the node was not well in time: for ever, and not exact."""
    told = f"NOT WELL: {' '.join(str(error).split())}"
    return Notice(
        deed=guest.deed, told=told, usual_age=math.nan, oldest=math.inf, late=math.inf, set_aside=0,
        exact=False, well=math.inf,
    )  # fmt: skip


class _Witness:
    """Looks at somebody's result all the time, in a thread with a client of its own."""

    def __init__(self) -> None:
        self.oldest = 0.0
        self.late_at = 0.0  # monotonic, s

    @contextmanager
    def looking(self, place: Arena) -> Iterator[None]:
        stop = threading.Event()

        def look_on() -> None:
            with connect(place.node.config, name="witness", timeout_s=arena.CALL_S) as client:
                while not stop.wait(LOOK_S):
                    try:
                        result = client.get(WITNESS)
                    except AmiError:  # who gets no answer sees nothing new
                        self.late_at = time.monotonic()
                        continue
                    self.oldest = max(self.oldest, result.age_s())
                    if _is_late(result):
                        self.late_at = time.monotonic()

        thread = threading.Thread(target=look_on, name="witness")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _is_late(result: Result) -> bool:
    return result.age_s() > OLD_S or not result.complete


def _receive(place: Arena, guest: Guest) -> Notice:
    before = _Witness()
    with before.looking(place):
        time.sleep(1.0)
    aside = place.client.get("shots").events.set_aside
    there, came = _Witness(), time.monotonic()
    with there.looking(place):
        try:
            guest.come(place)
            _stay(place, there, came, until_off=guest.until_off)
            told = guest.tell(place)
        except AmiError as error:
            told = f"denied: {error}"
    late = max(0.0, there.late_at - came)
    went = time.monotonic()
    if not told.startswith("denied"):
        guest.go(place)
    place.wait_for("a node that is well", lambda: _is_well(place), WELL_S)
    well = time.monotonic() - went
    shots, numbers = _take_exact(place)
    return Notice(
        deed=guest.deed,
        told=told.splitlines()[0],
        usual_age=before.oldest,
        oldest=there.oldest,
        late=late,
        set_aside=shots.events.set_aside - aside,
        exact=shots.value == shots.events.expected - shots.events.set_aside == numbers.events.used,
        well=well,
    )


def _stay(place: Arena, witness: _Witness, came: float, *, until_off: bool) -> None:
    """Wait until nothing is late any more."""
    while (now := time.monotonic()) - came < (WELL_S if until_off else STAYS_S):
        is_quiet = now - max(came, witness.late_at) > 2 * QUIET_S
        if is_quiet and not (until_off and not _is_off(place)):
            break
        time.sleep(LOOK_S)


def _is_off(place: Arena) -> bool:
    return any(OFF in warning for warning in place.client.status().warnings)


def _is_well(place: Arena) -> bool:
    result, status = place.client.get(WITNESS), place.client.status()
    if status.problems:
        raise NotYet("; ".join(status.problems))
    if _is_late(result) or result.graph_version != status.graph_version:
        is_complete = "complete" if result.complete else "partial"
        raise NotYet(
            f"a result of version {result.graph_version} is {result.age_s():.1f} s old and {is_complete};"
            f" the graph has version {status.graph_version}"
        )
    return True


def _take_exact(place: Arena) -> tuple[Result, Result]:
    """Return two results of a run as they are at one interval."""

    def look() -> tuple[Result, Result] | None:
        results = place.client.results()
        shots, numbers = results["shots"], results["numbers"]
        return (shots, numbers) if shots.complete and shots.interval == numbers.interval else None

    both = place.wait_for("results of one interval", look)
    assert both is not None
    return both
