"""Follow a growing text file: ``lines:///path/file.csv``, a live source in one file.

The first line has the names, ``timestamp`` first; each further line is an event: its time in ns, and a
number for each field. An empty place is a value that the event does not have.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ami.errors import SourceError
from ami.event import Field, Schema, Slots
from ami.sources.base import NOTHING_YET, Received, Silence
from ami.sources.refusals import Refusals
from ami.sources.uri import LIVE, Option, Uri, positive

OPTIONS: Mapping[str, Option] = {"scale": Option(positive, 1.0)}
LOOK_S = 0.01


class Lines:
    """The :class:`ami.sources.base.LiveInput` of a file that somebody appends to."""

    def __init__(self, path: Path, scale: float) -> None:
        self.schema: Schema | None = None
        self.content = f"lines {path.resolve()} {scale}"
        self.skipped: tuple[str, ...] = ()
        self.refusals = Refusals(str(path))
        self._path = path
        self._scale = scale
        self._file: Any = None
        self._line = ""  # the one that comes next
        self._position = 0  # lines behind us, also those that could not be read
        self._lost = 0
        self._values = np.empty((0, 0))

    def resume(self, position: int) -> int:
        self._position, self._lost, self._line = position, 0, ""  # a file keeps what nobody read
        self.close()
        self._file = None
        return position

    def receive(self, timeout_s: float, limit: int) -> Received | Silence:
        end = time.monotonic() + timeout_s
        while not (rows := self._rows(limit)):
            if time.monotonic() >= end:
                return NOTHING_YET
            time.sleep(min(LOOK_S, timeout_s))
        lost, self._lost = self._lost, 0
        first, self._position = self._position, self._position + len(rows)
        self._values = np.array([values for _, values in rows]) * self._scale
        return Received(first, np.array([timestamp for timestamp, _ in rows], np.int64), (), lost)

    def read(self, start: int, into: Slots, fields: frozenset[str]) -> None:
        assert self.schema is not None
        values = self._values[start : start + into.count]
        into.set_valid(fields)
        for column, field in enumerate(self.schema.fields):
            if field.name in fields:
                into.columns[field.name][:] = values[:, column]
                into.set_missing([field.name], np.isnan(values[:, column]))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _rows(self, limit: int) -> list[tuple[int, list[float]]]:
        """Return the next lines up to one that cannot be read."""
        rows: list[tuple[int, list[float]]] = []
        while len(rows) < limit and self._next_line():
            try:
                row = self._row(self._line)
            except ValueError as error:
                if rows:
                    return rows  # it is looked at again, and counted, when these are handed on
                self.refusals.add(f"a line cannot be read: {error}")
                self._lost += 1
                self._position += 1
            else:
                rows.append(row)
            self._line = ""
        return rows

    def _row(self, line: str) -> tuple[int, list[float]]:
        timestamp, *values = line.strip().split(",")
        if self.schema is None or len(values) != len(self.schema.fields):
            raise ValueError("it is of another length than the first one")
        return int(timestamp), [float(value) if value else np.nan for value in values]

    def _next_line(self) -> bool:
        """Return whether a whole line is there; one may be half written."""
        if self._file is None:
            self._begin()
        if not self._line.endswith("\n"):
            self._line += self._file.readline()
        return self._line.endswith("\n")

    def _begin(self) -> None:
        try:
            self._file = self._path.open(encoding="utf-8")
        except OSError as error:
            raise SourceError(f"{self._path}: {error.strerror}") from error
        names = self._file.readline().strip().split(",")[1:]
        if self.schema is None:
            self.schema = Schema(tuple(Field(name, np.dtype(np.float64)) for name in names))
        for _ in range(self._position):
            self._file.readline()


def opener(uri: Uri) -> tuple[Lines, dict[str, Any]]:
    """Return the input that ``uri`` names, with the values of its options."""
    values = uri.values({**LIVE, **OPTIONS})
    return Lines(Path(uri.body), values["scale"]), values
