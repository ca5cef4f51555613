"""Say what an export is: the one seam through which results leave for other systems.

An export knows nothing of stores, notifications or processes: :class:`ami.exports.stage.ExportStage` reads
results as any client does, hands them on, beats, tries again and counts, for all exports alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol, runtime_checkable

from ami.client.load import Load
from ami.event import Schema
from ami.result import Result


class Export(Protocol):
    """One way out, made by a call ``make(uri)`` with an :class:`ami.sources.uri.Uri`.

    Making it checks the URI's options (ConfigError) and does no I/O.
    """

    @property
    def names(self) -> Collection[str] | None:
        """The results whose values it wants; None: all, also those that come later."""

    @property
    def address(self) -> str:
        """Where it exports to, for people, as ``http://127.0.0.1:9464/metrics``."""

    def start(self, schema: Schema | None) -> None:
        """Begin: open the port, the file, the connection. ``schema`` is None while no source runs.

        Raises:
            ExportError: not now; it is tried again, and the text is shown until then.
        """

    def put(self, results: Mapping[str, Result]) -> None:
        """Hand on the newest of each result that is new since the last call; each carries its accounting.

        Raises:
            ExportError: not now; the newest of each is handed in again.
        """

    def close(self) -> None:
        """Let go of everything; also after a ``start`` that failed, and twice."""


@runtime_checkable
class SeesCluster(Protocol):
    """An export that also wants to know how the cluster is."""

    def see(self, load: Load, published_ns: Mapping[str, int]) -> None:
        """Take in what every process does and costs, and when each result was published last (ns).

        Called every five seconds or so. A result that was not published since this process began has no time.
        """
