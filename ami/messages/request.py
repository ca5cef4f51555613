"""What a client asks of the graph manager.

Plain data, because it comes from a client; and not trusted: each field is checked before use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ami.errors import GraphError

MAX_TEXT_BYTES = 1 << 20
MAX_NAME = 200  # characters of an id, which becomes a key, and of a client, which stays in the history
NEVER_NS = 1 << 63


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants.

    ``expected_version``: deny it if the graph has another version by now. ``deadline_ns``: when the
    client stops waiting (wall clock); what was not done by then is not done. ``fields``: what else the action
    needs, by name; in one that came from a queue, all that it came with. ``dry_run``: only say what
    would come of it.
    """

    id: str
    client: str
    action: str
    expected_version: int | None
    deadline_ns: int
    fields: Mapping[str, Any]
    dry_run: bool = False

    @classmethod
    def from_plain(cls, plain: object) -> Request:
        """Return the request that a client put into the queue.

        Raises:
            GraphError: it is not a request.
        """
        if not isinstance(plain, Mapping):
            raise GraphError(f"a request must be a mapping, got {type(plain).__name__}")
        expected = plain.get("expected_version")
        if expected is not None and not isinstance(expected, int):
            raise GraphError(f"expected_version must be a number or nothing, got {expected!r}")
        deadline = plain.get("deadline_ns", NEVER_NS)
        if not isinstance(deadline, int):
            raise GraphError(f"deadline_ns must be a number or nothing, got {deadline!r}")
        return cls(
            id=_text(plain, "id", MAX_NAME),
            client=_text(plain, "client", MAX_NAME),
            action=_text(plain, "action", MAX_NAME),
            expected_version=expected,
            deadline_ns=deadline,
            fields=plain,
            dry_run=_flag(plain, "dry_run"),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return what a client puts into the queue."""
        return {
            "id": self.id,
            "client": self.client,
            "action": self.action,
            "expected_version": self.expected_version,
            "deadline_ns": self.deadline_ns,
            "dry_run": self.dry_run,
            **self.fields,
        }

    def text(self, name: str) -> str:
        """Return a field that is a text.

        Raises:
            GraphError: it is missing, of another type, or too long.
        """
        return _text(self.fields, name)

    def flag(self, name: str) -> bool:
        """Return a field that is true or false; false when it is missing.

        Raises:
            GraphError: it is something else.
        """
        return _flag(self.fields, name)

    def number(self, name: str) -> float:
        """Return a field that is a finite number; 0 when it is missing.

        Raises:
            GraphError: it is something else.
        """
        number = self.fields.get(name, 0.0)
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise GraphError(f"{name} must be a finite number, got {number!r:.100}")
        return float(number)

    def names(self) -> tuple[str, ...]:
        """Return the field ``names``.

        Raises:
            GraphError: it is not a list of texts.
        """
        names = self.fields.get("names", [])
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise GraphError(f"names must be a list of texts, got {names!r}")
        return tuple(names)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    flag = fields.get(name, False)
    if not isinstance(flag, bool):
        raise GraphError(f"{name} must be true or false, got {flag!r:.100}")
    return flag


def _text(fields: Mapping[str, Any], name: str, most: int = MAX_TEXT_BYTES) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise GraphError(f"a request needs {name!r} as a text, got {value!r:.100}")
    if len(value) > most:
        raise GraphError(f"{name!r} has {len(value)} characters, at most {most} are taken")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise GraphError(
            f"{name!r} has half of a character at {error.start}, which no key can have"
        ) from None
    return value
