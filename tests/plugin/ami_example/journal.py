"""Append each new result to a file, a line of JSON each: ``journal:///path/results.jsonl?results=a,b``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

from ami.errors import ExportError
from ami.event import Schema
from ami.result import Result
from ami.sources.uri import Option, Uri, names


class Journal:
    """The :class:`ami.exports.base.Export` of a file."""

    def __init__(self, uri: Uri) -> None:
        self.names: Collection[str] | None = uri.values({"results": Option(names, ())})["results"] or None
        self.address = uri.body
        self._file: IO[str] | None = None

    def start(self, schema: Schema | None) -> None:
        try:
            self._file = Path(self.address).open("a", encoding="utf-8")  # noqa: SIM115  # open until close()
        except OSError as error:
            raise ExportError(f"{self.address}: {error.strerror}") from error

    def put(self, results: Mapping[str, Result]) -> None:
        assert self._file is not None
        for result in results.values():
            self._file.write(json.dumps(result.to_plain()) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
