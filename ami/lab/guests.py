"""Let guests do harm to a node under load, one after the other, and say what everybody else noticed.

A guest does something, and takes it back. Meanwhile a witness looks at a result of somebody else, of each
interval: how old it gets, and whether it is complete. Counted is what of his events was lost to the guest,
and how long it took until the node was well after the guest had gone. More guests: more of :data:`GUESTS`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

from ami.client import connect
from ami.errors import AmiError
from ami.graph.execution.partial import OFF
from ami.lab import arena
from ami.lab.arena import Arena, NotYet
from ami.result import Result
from ami.stores import keys
from ami.stores.opened import Stores

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
EDITORS, JUNK = 100, 2000

Progress = Callable[[int, int, str], object]


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody who does something to a node.

    ``come`` does it, ``go`` takes it back. Who is denied has done no harm. ``until_off``: he stays
    until what he does is switched off, or for long.
    """

    deed: str
    come: Callable[[Arena], object]
    go: Callable[[Arena], object]
    until_off: bool = False


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


ON_EVENTS = "sum_events(f(monitor, sequence))"
ON_RESULTS = "f(mean_events(monitor), count(monitor))"


def function(code: str, *, block: bool = False, call: str = ON_EVENTS) -> Guest:
    """Return a guest with a function ``f(x, n)`` of the monitor's value and the event's number.

    With ``ON_RESULTS``, of the monitor's mean and the count of events.
    """
    lines = "".join(f"      {line}\n" for line in code.splitlines())
    how = "    block: true\n" if block else ""
    text = f"functions:\n  f:\n    code: |\n{lines}{how}results:\n  {GUEST}: {call}\n"
    deed = "; ".join(line.strip() for line in code.splitlines() if not line.startswith("def "))
    return Guest(deed, lambda place: place.client.add(text), lambda place: place.client.remove(GUEST))


def asking(deed: str, expressions: Sequence[str], *, until_off: bool = False) -> Guest:
    """Return a guest who asks for results of these expressions."""
    asked = {f"{GUEST}{number or ''}": one for number, one in enumerate(expressions)}
    text = "results:\n" + "".join(f"  {name}: {one}\n" for name, one in asked.items())
    return Guest(
        deed, lambda place: place.client.add(text), lambda place: place.client.remove(*asked), until_off
    )


SQUARE = "histogram2d(delay + {}, monitor, x_bins=2000, y_bins=2000, x_low=0, x_high=20, y_low=0, y_high=20)"


def edit_together(place: Arena) -> None:
    """Let a hundred clients add a result each, and take it out again, all at once."""

    def edit(number: int) -> None:
        name = f"{GUEST}{number}"
        with connect(place.node.config, name=name, timeout_s=arena.CALL_S) as client:
            client.add(f"results: {{{name}: 'mean_events(monitor + {number})'}}")
            client.remove(name)

    with ThreadPoolExecutor(EDITORS) as editors:
        for _ in editors.map(edit, range(EDITORS)):
            pass


def send_junk(place: Arena) -> None:
    """Put what is no request into the manager's queue."""
    with closing(Stores(place.node.config)) as stores:
        queue = stores.cluster("graph-manager").queue(keys.REQUESTS)
        for number in range(JUNK):
            queue.put({"junk": number})


IMPORTS = "import ctypes, os, subprocess, sys, threading, time\nlock = ctypes.create_string_buffer(64)"


def _at(condition: str, deed: str, call: str = ON_EVENTS) -> Guest:
    code = f"{IMPORTS}\ndef f(x, n):\n    if {condition}:\n        {deed}\n    return x"
    made = function(code, call=call)
    every = "" if condition == "n > 10" else f" where {condition}"
    every += "" if call == ON_EVENTS else ", on results"
    return Guest(f"`{deed}`{every}", made.come, made.go)


# The manager tries each on events of ones: what is done at once is denied.
GUESTS: tuple[Guest, ...] = (
    _at("n % 10 == 0", "sys.exit()"),
    _at("n % 10 == 0", "raise KeyboardInterrupt"),
    _at("n % 10 == 0", "os._exit(1)"),
    _at("n > 10", "ctypes.string_at(0)"),
    _at("n > 10", "while True: pass"),
    _at("n > 10", "time.sleep(1e9)"),
    _at("n > 10", "threading.Semaphore(0).acquire()"),
    _at("n > 10", "[ctypes.CDLL(None).pthread_mutex_lock(lock) for _ in range(2)]"),
    _at("n > 10", "x += len(bytearray(20 << 30))"),
    _at("n > 10", "np.leak = getattr(np, 'leak', []); np.leak.append(np.ones(1 << 23))"),
    _at("n > 10", "return f(x, n)"),
    _at("n > 10", "os.fork()"),
    _at("n > 10", "threading.Thread(target=time.sleep, args=(1e9,)).start()"),
    _at("n > 10", "subprocess.Popen(['sleep', '1e9'])"),
    _at("n > 10", "os.kill(os.getppid(), 9)"),
    _at("n > 10", "np.seterr(all='raise')"),
    _at("n % 10 == 0", "return float('nan')"),
    _at("n > 10", "os._exit(1)", ON_RESULTS),
    _at("n > 10", "while True: pass", ON_RESULTS),
    function("def f(x, n):\n    x[:] = 0\n    return x", block=True),
    function("def f(x, n):\n    return x - x.mean()", block=True),
    asking("pick of 10⁹ images", ["pick(camera, count=1000000000)"]),
    asking("20 histograms of 2000²: 640 MB of states", [SQUARE.format(number) for number in range(20)]),
    asking("a scan of images by time stamp", ["mean_vs(camera, key=timestamp)"], until_off=True),
    Guest(f"{EDITORS} editors at once", edit_together, lambda _place: None),
    Guest(f"{JUNK} requests that are none", send_junk, lambda _place: None),
)


def run(guests: Sequence[Guest], *, workers: int, progress: Progress) -> list[Notice]:
    """Start a private node, let the guests come and go, and stop it.

    Raises:
        AmiError: it was not well in time after one had gone; says after which.
    """
    found: list[Notice] = []
    uri = f"sim://pump-probe?rate={RATE_HZ}&policy=wait"
    progress(0, len(guests), "starting a node")
    with arena.running(
        uri, WITNESSES, name="guests", first=WITNESS, workers=workers, settings=SETTINGS
    ) as place:
        for number, guest in enumerate(guests):
            progress(number, len(guests), guest.deed)
            try:
                found.append(_receive(place, guest))
            except AmiError as error:
                raise AmiError(f"after {guest.deed}: {error}") from error
    return found


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
                    result = client.get(WITNESS)
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
            told = _stay(place, there, came, until_off=guest.until_off)
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


def _stay(place: Arena, witness: _Witness, came: float, *, until_off: bool) -> str:
    """Wait until nothing is late any more; return what the guest's own result says, or status of it."""
    while (now := time.monotonic()) - came < (WELL_S if until_off else STAYS_S):
        is_quiet = now - max(came, witness.late_at) > 2 * QUIET_S
        if is_quiet and not (until_off and not _is_off(place)):
            break
        time.sleep(LOOK_S)
    result = place.client.results().get(GUEST)
    if result is not None and result.error is not None:
        return result.error
    # A large result is published as often as its size allows; that may be a while.
    return next((line for line in place.client.status().warnings if f" {GUEST!r} " in line), "nothing")


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
