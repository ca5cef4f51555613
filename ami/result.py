"""What a client sees of a result: its value, and the envelope that says what is in it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields, replace
from operator import attrgetter
from typing import Any, NamedTuple

from ami.values import NO_LABEL, Axis, Label, Part, axes_of, parts_of, plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The accounting of a window. ``expected`` is what the source met, taken into the ring or not.

    Of these, ``dropped`` found no room in the ring, ``set_aside`` kill or hang workers, and all
    others were run; ``used`` of them reached this result (its filters and missing values passed).
    """

    expected: int = 0
    used: int = 0
    dropped: int = 0
    set_aside: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The value of one published name after one interval.

    ``value`` is None while nothing was reduced yet, or when ``error`` says why there is none.
    ``interval`` is the newest that there was; ``intervals`` are the first and the last one of which this
    result has anything, ``time_ns`` is when the first and the last event in its window came, ns; of picked
    events, the first and the last of these. ``complete``:
    nothing is still to come: no entry of the window was sent in part, and no node is missing.
    ``missing_nodes``: of which there is nothing in the window, or which have not passed its last interval;
    ``late``: of these, by how much, in s of event time.
    ``label``: the unit of the value, and name and unit of its axes, as far as they are known.
    ``one_in``: of how many intervals one is computed; 1: each. ``every_s``: how often it can be afforded
    to publish a result as large as this; 0: each interval.
    """

    name: str
    value: Any = None
    error: str | None = None
    window: str = ""
    run: int = 0
    interval: int = 0
    interval_ns: int = 0
    intervals: tuple[int, int] = (0, 0)
    time_ns: tuple[int, int] = (0, 0)
    events: Events = Events()
    nodes: tuple[str, ...] = ()
    missing_nodes: tuple[str, ...] = ()
    late: tuple[tuple[str, float], ...] = ()
    workers: tuple[str, ...] = ()
    graph_version: int = 0
    graph_hash: str = ""
    complete: bool = True
    published_ns: int = field(default_factory=time.time_ns)
    every_s: float = 0.0
    one_in: int = 1
    label: Label = NO_LABEL

    def parts(self) -> tuple[Part, ...]:
        """Return the arrays and numbers of the value, with units; none where there is no value."""
        return () if self.value is None else parts_of(self.value, self.label)

    def axes(self) -> tuple[Axis, ...]:
        """Return the axes that the parts name, with units."""
        return axes_of(self.value, self.label)

    def age_s(self, now_ns: int | None = None) -> float:
        """Seconds since this was published."""
        return ((time.time_ns() if now_ns is None else now_ns) - self.published_ns) / 1e9

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it."""
        facts = {one.name: getattr(self, one.name) for one in fields(self)}
        interval_ns, time_ns, label = (facts.pop(name) for name in ("interval_ns", "time_ns", "label"))
        first, last = facts.pop("intervals")
        return {
            **facts,
            "value": plain(self.value),
            "late": dict(self.late),
            "interval_s": interval_ns / 1e9,
            "intervals": {"first": first, "last": last},
            "time": {"first_ns": time_ns[0], "last_ns": time_ns[1]},
            "events": asdict(self.events),
            "age_s": self.age_s(),
            "unit": label.unit,
            "axes": [{"name": name, "unit": unit} for name, unit in label.axes],
        }


_OWN = ("name", "value", "events")
_get_shared = attrgetter(*(name for name in Result.__slots__ if name not in _OWN))
_PUT_OWN = [Result.__dict__[name].__set__ for name in _OWN]
_PUT_SHARED = [Result.__dict__[name].__set__ for name in Result.__slots__ if name not in _OWN]


class Row(NamedTuple):
    """A result whose envelope it has in common with others: a tenth of the time, where there are thousands.

    ``envelope`` is a result with no name, no value and no events.
    """

    name: str
    value: Any
    events: Events
    envelope: Result

    @classmethod
    def of(cls, result: Result) -> Row:
        """Return a row of a result, with an envelope of its own."""
        return cls(
            result.name, result.value, result.events, replace(result, name="", value=None, events=Events())
        )

    def to_result(self) -> Result:
        """Return it as clients see it."""
        made = object.__new__(Result)
        for put, own in zip(_PUT_OWN, self, strict=False):
            put(made, own)
        for put, shared in zip(_PUT_SHARED, _get_shared(self.envelope), strict=True):
            put(made, shared)
        return made
