"""Say what a setting may be: its default, and a check that names the setting and what it got."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable
from dataclasses import field
from typing import Any

from ami.errors import ConfigError


def check(condition: bool, setting: str, wanted: str, got: object) -> None:
    if not condition:
        raise ConfigError(f"{setting} must be {wanted}, got {show(got)}")


def show(value: object) -> str:
    try:
        return textwrap.shorten(repr(value), 200)
    except ValueError:  # Python refuses to write an integer of more than 4300 digits
        return "an integer of thousands of digits"


Check = Callable[[str, Any], None]  # is given the setting's name and its value


def be(default: Any, check: Check) -> Any:
    return field(default=default, metadata={"check": check})


def count(low: int, high: int = 1 << 46) -> Check:
    return lambda setting, got: check(low <= got <= high, setting, f"from {low} to {high}", got)


def seconds(low: float, high: float = 86400.0) -> Check:
    # Written so that NaN fails.
    return lambda setting, got: check(
        math.isfinite(got) and low <= got <= high, setting, f"from {low:g} to {high:g} seconds", got
    )


def choice(*choices: str) -> Check:
    return lambda setting, got: check(got in choices, setting, f"one of {', '.join(choices)}", got)


def text(pattern: str, wanted: str) -> Check:
    return lambda setting, got: check(re.fullmatch(pattern, got) is not None, setting, wanted, got)


def uris(setting: str, got: tuple[str, ...]) -> None:
    for uri in got:
        check("://" in uri, setting, "a list of proto://body?options", uri)


def addresses(setting: str, got: tuple[str, ...]) -> None:
    for address in got:
        match = re.fullmatch(r"([^\s:]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})", address)
        good = match is not None and 1 <= int(match[2]) <= 65535
        check(good, setting, "a list of HOST:PORT", address)


def bytes_or_share(setting: str, got: int) -> None:
    check(got == 0 or 4096 <= got <= 1 << 46, setting, f"0 or from 4096 to {1 << 46}", got)


def share(setting: str, got: float) -> None:
    check(math.isfinite(got) and 0 < got <= 0.9, setting, "above 0 and at most 0.9", got)


# No ":" or braces: these part a Redis key.
NAME = text(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "letters, digits, '.', '_' and '-', at most 63")
# Leaked segments are found by this prefix; the length leaves room for the suffixes of columns and semaphores.
RING_NAME = text(
    r"/ami-(?!.*\.(c[0-9]+|new|work[0-9]*|space|done)$)[A-Za-z0-9._-]{1,100}",
    "'/ami-' and up to 100 letters, digits, '.', '_' and '-', without the ring's own endings such as .c1",
)
FSYNC = choice("no", "everysec", "always")
APPEND_TO = choice("memory", "disk")
