"""What the graph manager says to a request: plain data, as the request was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any

from ami.errors import AmiError
from ami.messages.message import message


@message
class Answer:
    """Whether a request was done. ``version`` and ``hash`` are those of the graph that there is after it.

    ``reason``: why it was denied. ``changes``: what it changed, by names; empty when nothing did.
    """

    id: str
    accepted: bool
    version: int
    hash: str
    reason: str | None
    warnings: list[str]
    changes: dict[str, Any] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """Return what the manager puts into the client's queue."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: object) -> Answer:
        """Return the answer that a manager put there.

        Raises:
            AmiError: it is no answer.
        """
        try:
            if not isinstance(plain, Mapping):
                raise TypeError(f"a {type(plain).__name__}")
            return cls(**plain)
        except TypeError as error:
            raise AmiError(f"the graph manager's answer cannot be read: {error}") from error
