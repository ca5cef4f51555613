"""What people's code changes of what all in a process share is put back, and told to who did it alone.

Each case runs in a process of its own: what is changed there is a process'.
"""

from __future__ import annotations

import builtins
import json
import math
import os
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ami.daemons.process.apart import EXIT_SPOILED
from ami.daemons.process.bindings import Bindings
from ami.daemons.process.sentry import OUTER, SETTINGS, Broken, Sentry
from ami.daemons.process.watch import Watch
from tests import ring_rig

DRAWN = 100


def apart(work: Callable[[], Any]) -> Any:
    """Return what ``work`` gives in a child, or its exit code if that is not 0."""
    reader, writer = os.pipe()

    def tell() -> None:
        os.write(writer, json.dumps(work()).encode())

    with ring_rig.child(tell) as pid, os.fdopen(reader) as answer:
        os.close(writer)
        told = answer.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code or json.loads(told)


def list_names() -> list[tuple[Any, str]]:
    """Return functions, classes and modules that many use, where they stand."""
    owners: list[Any] = [builtins, math, np, json, os, random, np.linalg, json.JSONDecoder, json.decoder]
    # What each exec and this test need before anybody could look.
    needed = {"__builtins__", "__import__", "exec", "setattr", "delattr"}
    return [
        (owner, name)
        for owner in owners
        for name, value in list(vars(owner).items())
        if callable(value) and name not in needed and not name.startswith("__")
    ]


def test_whatever_name_is_bound_to_something_else_is_put_back_and_told() -> None:
    def work() -> list[Any]:
        draw, wrong = random.Random(4), list[Any]()
        drawn = draw.sample(list_names(), DRAWN)
        sentry, set_, delete = Sentry(tuple, Bindings()), setattr, delattr
        for owner, name in drawn:
            was = vars(owner)[name]
            sentry.begin("f", is_new=True)
            if draw.random() < 0.5:
                delete(owner, name)
            else:
                set_(owner, name, None)
            told = sentry.end("f")
            sentry.begin("f")
            if vars(owner).get(name) is not was or f".{name}" not in told or sentry.end("f"):
                wrong.append((str(owner), name, told))
        return [len(drawn), wrong]

    assert apart(work) == [DRAWN, []]


DEEDS = """
builtins.__dict__.clear()
vars(np).clear()
sys.modules.clear()
np.pi = math.pi = 3
np.add, np.mean, builtins.len = None, np.max, min
json.decoder.len = min
json.JSONDecoder.decode = None
del os.fstat, os.close, os.dup
time.monotonic = time.perf_counter = signal.setitimer = None
""".strip().splitlines()
SETS = """
sys.setrecursionlimit(150)
gc.disable()
gc.set_threshold(1)
os.environ.clear()
os.environ = {}
warnings.simplefilter("error")
locale.setlocale(locale.LC_ALL, "C.UTF-8")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGALRM, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.setitimer(signal.ITIMER_PROF, 1000)
threading.settrace(print)
sys.stdout = sys.stderr = None
sys.path.clear()
logging.disable(50)
logging.getLogger().handlers.clear()
np.set_printoptions(precision=1)
np.setbufsize(1600)
decimal.getcontext().prec = 2
os.umask(0)
os.nice(1)
os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
""".strip().splitlines()
NOTHING = """
import colorsys
np.leak = [1]
with warnings.catch_warnings(record=True): warnings.simplefilter("error")
with contextlib.redirect_stdout(None): pass
collections.namedtuple("P", "a b")(1, 2)
os.environ["NEW"] = "1"
sys.path.insert(0, "/nowhere")
np.random.normal()
random._cache = json._cache = {}
re.compile("x+")
""".strip().splitlines()
MODULES = (
    *("builtins", "collections", "contextlib", "decimal", "gc", "json", "locale", "logging", "math", "os"),
    *("random", "re", "signal", "sys", "threading", "time", "warnings"),
)


def do(deed: str, times: int = 2) -> list[Any]:
    """Return what somebody is told who does something, each time, and what was not as before."""

    def work() -> list[Any]:
        names: dict[str, Any] = {"np": np} | {name: __import__(name) for name in MODULES}
        code = compile(deed, "deed", "exec")
        watch = Watch(math.inf, lambda: None, lambda: None, lambda _names, _error: False)
        watch.prepare()
        settings = [(one, one.read()) for one in (*SETTINGS, *OUTER)]
        means = Bindings()
        told = []
        for _ in range(times):
            watch.enter(["f"], iter(()), is_new=True)  # all is looked at
            try:
                exec(code, names)
            finally:
                told.append(watch.leave())
        return [told, means.look_at_all(), [one.name for one, was in settings if one.read() != was]]

    found: list[Any] = apart(work)
    return found


@pytest.mark.parametrize("deed", DEEDS)
def test_what_is_changed_for_others_is_told_each_time(deed: str) -> None:
    told, changed, settings = do(deed)
    assert (changed, settings) == ([], [])
    assert all("changed what others use, which was put back: " in one for one in told)


@pytest.mark.parametrize("deed", SETS)
def test_what_is_set_is_put_back_and_no_offence(deed: str) -> None:
    assert do(deed) == [["", ""], [], []]


@pytest.mark.parametrize("deed", NOTHING)
def test_what_hurts_nobody_is_let_be(deed: str) -> None:
    assert do(deed) == [["", ""], [], []]


@pytest.mark.parametrize("deed", ["os.close({0})", "os.closerange(3, 100)", "os.dup2(1, {0})", "os.close(1)"])
def test_who_has_lost_a_file_ends_at_once(deed: str) -> None:
    def work() -> None:
        fd = os.memfd_create("ring")
        watch = Watch(math.inf, lambda: None, lambda: None, lambda _names, _error: False, files=lambda: [fd])
        watch.enter(["f"], iter(()))
        exec(deed.format(fd), {"os": os})
        watch.leave()

    assert apart(work) == EXIT_SPOILED


def test_what_closes_all_files_is_found_where_it_is_tried() -> None:
    def work() -> None:
        sentry = Sentry(lambda: [-1], Bindings())
        sentry.begin("f")
        os.closerange(3, 100)
        with pytest.raises(Broken):
            sentry.end("f")
        os._exit(EXIT_SPOILED)  # the line to the test is closed, too

    assert apart(work) == EXIT_SPOILED


def test_files_that_are_left_open_are_told() -> None:
    def work() -> list[str]:
        sentry = Sentry(tuple, Bindings())
        sentry.begin("f")
        held = [os.dup(1) for _ in range(500)]
        return [sentry.end("f"), str(len(held))]

    told, _ = apart(work)
    assert "files open" in told


def test_nobody_is_told_of_what_another_did() -> None:
    def work() -> list[str]:
        sentry, told = Sentry(tuple, Bindings()), []
        for number in range(30):
            for name in "abc":
                sentry.begin(name, is_new=number == 8 and name == "c")
                if name == "b" and number % 5 == 0:
                    json.decoder.scanstring = None  # type: ignore[assignment]
                if sentry.end(name):
                    told.append(name)
        return told

    assert set(apart(work)) == {"b"}


def test_who_seeds_random_numbers_seeds_his_own() -> None:
    def work() -> list[bool]:
        sentry, drawn = Sentry(tuple, Bindings()), dict[str, list[float]](a=[], b=[])
        for _ in range(5):
            for name in "ab":
                sentry.begin(name, seeds=name == "a")
                if name == "a" and not drawn["a"]:
                    np.random.seed(1)
                drawn[name].append(np.random.random())
                sentry.end(name)
        mine = np.random.RandomState(1).random_sample(5).tolist()
        return [drawn["a"] == mine, len({*drawn["b"]} - {*mine}) == 5]

    assert apart(work) == [True, True]


def test_a_name_that_hides_a_builtin_is_taken_away() -> None:
    def work() -> list[Any]:
        sentry = Sentry(tuple, Bindings())
        sentry.begin("f", is_new=True)
        module: ModuleType = sys.modules["json.decoder"]
        vars(module)["len"] = None
        return [sentry.end("f").rpartition(" ")[2], hasattr(module, "len")]

    assert apart(work) == ["json.decoder.len", False]
