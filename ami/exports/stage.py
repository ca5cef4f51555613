"""Run one export as a process: read results as a client does, hand them on, try again, count.

An export is a guest: whatever it raises is told in the state of this process, and it is closed and begun
again after a while. Of each result the newest waits meanwhile; there is no queue that could grow.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from ami.client.client import Client
from ami.client.meter import Meter
from ami.client.updates import Updates
from ami.daemons.process.stage import Setup
from ami.errors import FAULTS, ConfigError, ExportError, StoreError
from ami.exports.base import Export, SeesCluster
from ami.exports.opening import open_export
from ami.result import Result

logger = logging.getLogger(__name__)

WAIT_S = 0.2
NOTICE_S = 1.0  # between two looks at the notifications, for who wants no value
LOOK_S = 5.0  # between two looks at the cluster, for exports that want to see it
AGAIN_S = 5.0  # until an export that failed is begun again


@contextlib.contextmanager
def _foreign() -> Iterator[None]:
    """Take whatever an export raises as its failure: its settings and its stores are not ours."""
    try:
        yield
    except ExportError:
        raise
    except FAULTS as error:
        logger.exception("a fault of the export")
        raise ExportError(repr(error)) from error


class ExportStage:
    """The export number ``number`` of ``export.uris``; without one, there is nothing to be done."""

    def __init__(self, setup: Setup) -> None:
        self._config = setup.config
        self._number = setup.number
        self._stopping = setup.stopping
        self._export: Export | None = None
        self._client: Client | None = None
        self._updates: Updates | None = None
        self._meter: Meter | None = None
        self._unsent: dict[str, Result] = {}
        self._failed = ""
        self._again_at = self._look_at = 0.0
        self._exported = self._failures = 0

    @property
    def state(self) -> str:
        if self._failed:
            return f"failed: {self._failed}"
        return "starting" if self._export is None else f"running: {self._export.address}"

    @property
    def counters(self) -> Mapping[str, float]:
        return {"exported": self._exported, "failures": self._failures}

    def start(self) -> None:
        """Begin to listen to the cluster.

        Raises:
            StoreUnavailable: call again.
            ConfigError: the URI says what this export does not understand.
        """
        uris = self._config.export.uris
        if self._number >= len(uris):
            logger.info("export.uris has no entry %d: nothing to export here", self._number)
            self._stopping.set()
            return
        self._client = Client(self._config)
        self._meter = self._client.meter()

    def step(self) -> None:
        if time.monotonic() < self._again_at:
            self._stopping.wait(WAIT_S)
        elif self._export is None:
            self._try(self._open)
        else:
            self._try(self._hand_on)

    def _open(self) -> None:
        assert self._client is not None
        export = self._export = open_export(self._config.export.uris[self._number])
        schema = self._client.schema()
        with _foreign():
            names = export.names
            export.start(schema)
        self._updates = self._client.updates(names)
        self._failed, self._look_at = "", 0.0
        logger.info("exporting to %s", export.address)

    def _hand_on(self) -> None:
        assert self._export is not None
        assert self._meter is not None
        self._unsent |= self._listen()
        if self._unsent:
            with _foreign():
                self._export.put(self._unsent)
            self._exported += len(self._unsent)
            self._unsent = {}
        if isinstance(self._export, SeesCluster) and time.monotonic() >= self._look_at:
            load, published_ns = self._meter.look(), self._published_ns()
            with _foreign():
                self._export.see(load, published_ns)
            self._look_at = time.monotonic() + LOOK_S

    def _listen(self) -> Mapping[str, Result]:
        assert self._export is not None
        assert self._updates is not None
        if self._export.names is None or self._export.names:
            return self._updates.take(WAIT_S)
        # Who wants no value only reads the notifications, some at once: no waking for each.
        self._stopping.wait(NOTICE_S)
        return self._updates.take(0.0)

    def _published_ns(self) -> dict[str, int]:
        """Return when each result that there still is was published last."""
        assert self._client is not None
        assert self._updates is not None
        heard = self._updates.read_times()
        return {name: heard[name] for name in self._client.catalogue() if name in heard}

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (StoreError, ConfigError):
            raise  # ours, not the export's: the runtime knows what to do
        except Exception as error:
            if not isinstance(error, ExportError):
                logger.exception("a fault of the export")
            self._fail(str(error) or repr(error))

    def _fail(self, text: str) -> None:
        if text != self._failed:
            logger.warning("%s; trying again every %g s", text, AGAIN_S)
        self._failed = text
        self._failures += 1
        self._again_at = time.monotonic() + AGAIN_S
        self._close_export()

    def _close_export(self) -> None:
        export, self._export = self._export, None
        if export is not None:
            with contextlib.suppress(Exception):  # it failed already, and that was told
                export.close()

    def close(self) -> None:
        if self._unsent and self._export is not None:
            self._try(self._hand_on)
        self._close_export()
        if self._client is not None:
            self._client.close()
