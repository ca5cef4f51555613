"""What people type that does harm to a node: functions and scans, one guest each, and too many at once.

More guests: more of :data:`GUESTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from ami.client import connect
from ami.lab import arena
from ami.lab.arena import Arena
from ami.lab.witness import GUEST, Guest
from ami.stores import keys
from ami.stores.opened import Stores

EDITORS, JUNK = 100, 2000
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


def _loading(deed: str) -> Guest:
    """Return a guest whose code does harm before it is called, and not where the manager tries it."""
    made = function(f"{IMPORTS}\nif 'worker' in sys.argv:\n    {deed}\ndef f(x, n):\n    return x")
    return Guest(f"`{deed}`, while it is loaded", made.come, made.go)


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
    _loading("os._exit(1)"),
    _loading("while True: pass"),
    _at("n > 10", "np.seterr(all='raise')"),
    _at("n > 10", "np.add = np.mean = None"),
    _at("n > 10", "os.closerange(3, 100)"),
    _at("n > 10", "os.environ.clear(); sys.setrecursionlimit(99)"),
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
