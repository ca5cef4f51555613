"""Take a source's URI apart: ``proto://body?name=value&name=value``.

Each protocol lists its options in a table, so an unknown one is an error that names the known
ones: an option that is misspelt and ignored would give wrong numbers without a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ami.errors import SourceError
from ami.packages import list_known

MAX = math.inf  # rate=max: as fast as possible
FOREVER = 0  # repeat without a number

_DURATIONS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_RATES = {"hz": 1.0, "khz": 1e3, "mhz": 1e6}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a protocol: how its text is read (ValueError says what is wanted), and its default."""

    read: Callable[[str], Any]
    default: Any


@dataclass(frozen=True, slots=True)
class Uri:
    """A source's URI in parts. ``options`` are still text."""

    text: str
    proto: str
    body: str
    options: Mapping[str, str]

    def values(self, known: Mapping[str, Option]) -> dict[str, Any]:
        """Return the value of every known option, its default where it is not given.

        Raises:
            SourceError: an option is not known, or its text is not what it wants.
        """
        for name in self.options:
            if name not in known:
                raise SourceError(f"{self.text!r}: unknown option {name!r}; {list_known(name, known)}")
        return {name: self._value(name, option) for name, option in known.items()}

    def _value(self, name: str, option: Option) -> Any:
        if name not in self.options:
            return option.default
        try:
            return option.read(self.options[name])
        except ValueError as error:
            raise SourceError(f"{self.text!r}: {name}={self.options[name]}: {error}") from error


def parse(text: str) -> Uri:
    """Return the parts of ``text``.

    Raises:
        SourceError: it is no URI, or gives an option twice.
    """
    match = re.fullmatch(r"([a-z][a-z0-9]*)://([^?]*)(?:\?(.*))?", text.strip())
    if match is None:
        raise SourceError(f"{text!r} is no source; wanted proto://body?option=value&..., as sim://pump-probe")
    proto, body, query = match.groups()
    options: dict[str, str] = {}
    for part in filter(None, (query or "").split("&")):
        name, _, value = part.partition("=")
        name = unquote(name)
        if name in options:
            raise SourceError(f"{text!r}: option {name!r} is given twice")
        options[name] = unquote(value)
    return Uri(text.strip(), proto, unquote(body), options)


def of_file(text: str) -> str:
    """Return a URI as it is, and the path of a recording, whatever its name, as a URI."""
    return text if "://" in text else f"hdf5://{quote(str(Path(text).absolute()))}"


def _numbers(
    wanted: str, fits: Callable[[float], bool], kind: Callable[[float], Any] = float
) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise ValueError(f"{wanted} is wanted")
        return kind(value)

    return read


def _is_whole(value: float) -> bool:
    return 0 <= value < 2**53 and value.is_integer()


number = _numbers("a finite number, such as 1.5,", math.isfinite)
positive = _numbers("a number above 0, such as 1.5,", lambda value: 0 < value < math.inf)
fraction = _numbers("a number from 0 to 1, such as 0.1,", lambda value: 0 <= value <= 1)
# 1000, 1_000 and 1e3 are the same.
natural = _numbers("a whole number from 0 on, such as 1000,", _is_whole, int)
counted = _numbers(
    "a whole number from 1 on, such as 1000,", lambda value: value >= 1 and _is_whole(value), int
)


def duration_s(text: str) -> float:
    value, unit = _with_unit(text, _DURATIONS, "50ms")
    return value * _DURATIONS[unit]


def rate_hz(text: str) -> float:
    """Return events per second; MAX for ``max``."""
    if text == "max":
        return MAX
    try:
        return float(positive(text))
    except ValueError:
        value, unit = _with_unit(text.lower(), _RATES, "1000, 10kHz, or max")
        return value * _RATES[unit]


def repeat(text: str) -> int:
    """Return how often to play; FOREVER for ``repeat`` or ``repeat=forever``."""
    if text in ("", "forever", "yes"):
        return FOREVER
    try:
        return int(counted(text))
    except ValueError:
        raise ValueError("how often is wanted, such as 3, or forever") from None


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of these is wanted: {', '.join(choices)}")
        return text

    return read


def image_shape(text: str) -> tuple[int, int]:
    """Return rows and columns of ``96x128``."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or not (int(match[1]) and int(match[2])):
        raise ValueError("ROWSxCOLUMNS is wanted, such as 96x128")
    return int(match[1]), int(match[2])


def names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _with_unit(text: str, units: Mapping[str, float], example: str) -> tuple[float, str]:
    match = re.fullmatch(r"([0-9.eE+-]*[0-9.])\s*([a-z]+)", text)
    if match is None or match[2] not in units:
        raise ValueError(f"a number with a unit ({', '.join(units)}) is wanted, such as {example}")
    return float(positive(match[1])), match[2]


# Options that every protocol has.
LIVE: Mapping[str, Option] = {
    "policy": Option(one_of("wait", "drop"), None),
    "interval": Option(duration_s, None),
}
# Options of every protocol of recorded or simulated events; :mod:`ami.sources.playback` does what they say,
# and :mod:`ami.sources.dealing` what ``every`` and ``offset`` do.
COMMON: Mapping[str, Option] = {
    **LIVE,
    "repeat": Option(repeat, 1),
    "start": Option(natural, 0),
    "stop": Option(counted, None),
    "rate": Option(rate_hz, None),
    "every": Option(counted, 1),
    "offset": Option(natural, 0),
}
