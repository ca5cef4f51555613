"""Take this node's share of what a sender deals: ``daq://HOST:PORT``. See ``docs/daq.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ami.errors import SourceError
from ami.event import Schema
from ami.sources import uri
from ami.sources.base import Home, Opener
from ami.sources.live.curve import read_keys, require_keys
from ami.sources.live.dealt import Dealt
from ami.sources.stream import Stream
from ami.sources.uri import LIVE, Option, Uri

OPTIONS: Mapping[str, Option] = {
    "ack": Option(uri.one_of("store", "ring"), "store"),
    "keys": Option(Path, None),
    "plain": Option(uri.one_of("yes", "no"), "no"),
}


class DealtStream(Stream):
    """A :class:`~ami.sources.base.Source` of what is dealt: nothing is late, and the sender waits."""

    def __init__(self, dealt: Dealt, parts: Uri, values: Mapping[str, Any]) -> None:
        super().__init__(dealt, parts, {**values, "policy": values["policy"] or "wait"})
        self._dealt = dealt

    def ready(self, timeout_s: float, earlier: Schema | None = None) -> bool:
        """See :class:`~ami.sources.base.Source`. It waits for the sender: intervals are his."""
        ready = super().ready(timeout_s, None)
        if ready and not self.interval_fixed:
            self.interval_s, self.interval_fixed = self._dealt.interval_s, self._dealt.interval_fixed
        self.pace.speed = self._dealt.speed
        return ready

    def join(self, home: Home) -> None:
        """See :class:`~ami.sources.base.Dealing`."""
        self._dealt.join(home)

    def tend(self) -> None:
        """See :class:`~ami.sources.base.Dealing`."""
        self._dealt.tend()

    @property
    def was_taken(self) -> bool:
        return self._dealt.taken


def _open(parts: Uri) -> tuple[Stream, dict[str, Any]]:
    values = parts.values({**LIVE, **OPTIONS})
    match = re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[\w.-]+):(\d{1,5})", parts.body)
    if match is None or not 0 < int(match[2]) < 65536:
        raise SourceError(f"{parts.text!r}: daq://HOST:PORT is wanted, such as daq://127.0.0.1:5577")
    keys = None if values["keys"] is None else read_keys(values["keys"])
    require_keys(repr(parts.text), match[1], keys, plain=values["plain"] == "yes")
    return DealtStream(Dealt(f"tcp://{match[1]}:{match[2]}", parts, values, keys), parts, values), values


PROTOCOLS: Mapping[str, Opener] = {"daq": _open}
