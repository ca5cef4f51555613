"""Keep the accepted versions of the graph on the disk, for when the machine dies and with it the store.

A version is written before it is published, so what a client was told, it will find again. What a manager
wrote and did not live to publish, its successor publishes: the answer to the request is beside it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ami.daemons.process import durable

logger = logging.getLogger(__name__)

WHAT = "graph-version-2"
AGAIN_S = 1.0

Record = dict[str, Any]  # version, text, graph, entries (of the history), answers (by request)


class Archive:
    """One file a version, of the newest ``keep`` versions.

    Attributes:
        problem: why the newest version could not be written; "" when it was.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep
        self._owed: list[Record] = []  # what the disk did not take, oldest first
        self._again_at = 0.0
        self.problem = ""

    def write(self, record: Record) -> str:
        """Write a version; return why that was not possible, "" when it was. Then it is tried again."""
        self._owed = [*self._owed, record][-self._keep :]
        return self._write_owed()

    def catch_up(self) -> None:
        """Write what the disk did not take, if it is time to try that again."""
        if self._owed and time.monotonic() >= self._again_at:
            self._write_owed()

    def forget_owed(self) -> None:
        """Leave what was not written to whoever published it."""
        self._owed, self.problem = [], ""

    def _write_owed(self) -> str:
        problem = ""
        try:
            while self._owed:
                version = self._owed[0]["version"]
                durable.store(self._path(version), WHAT, self._owed[0])
                old = (number for number in self._numbers() if number <= version - self._keep)
                durable.remove(map(self._path, old))
                self._owed.pop(0)
        except OSError as error:
            problem = f"version {self._owed[-1]['version']} would not outlive a power cut: {error}"
            if problem != self.problem:
                logger.error("%s", problem)
            self._again_at = time.monotonic() + AGAIN_S
        self.problem = problem
        return problem

    def newer(self, version: int, history: Sequence[Mapping[str, Any]]) -> list[Record]:
        """Return the versions that follow on ``version`` of the store, oldest first.

        ``history`` is the store's. On an empty one, whose version is 0, all follow. Files of another life
        of the cluster follow on nothing, and are removed.
        """
        if version:
            own = self._read(version)
            if own is None or own["entries"][-1] not in history:
                logger.info("no file in %s follows on version %d: they begin anew", self._folder, version)
                durable.remove(map(self._path, self._numbers()))
                return []
        records = map(self._read, (number for number in self._numbers() if number > version))
        return [record for record in records if record is not None]

    def __contains__(self, version: int) -> bool:
        return self._path(version).exists()

    def _read(self, version: int) -> Record | None:
        found = durable.read(self._path(version), WHAT)
        return found if isinstance(found, dict) else None

    def _numbers(self) -> list[int]:
        return sorted(int(path.name) for path in self._folder.glob("[0-9]*") if path.name.isdecimal())

    def _path(self, version: int) -> Path:
        return self._folder / str(version)
