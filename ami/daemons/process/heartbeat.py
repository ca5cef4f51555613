"""Tell Control once a second that this process lives, what it does and what it counted.

The beat comes from a thread of its own, so that a store that does not answer never holds up the
work; but it carries how long ago the main loop last finished a step, so that a process whose loop
hangs does not look alive.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from ami.cluster import proc
from ami.daemons.process.name import NodeName
from ami.daemons.process.rate import Flows
from ami.daemons.process.stage import Patience, Stage
from ami.errors import StoreError
from ami.messages.heartbeat import PROGRESS_BYTES, Heartbeat
from ami.stores import Store, keys
from ami.stores.wire import Traffic

logger = logging.getLogger(__name__)


@runtime_checkable
class Costly(Protocol):
    """A stage that knows what parts of the graph cost it: a worker or a reducer."""

    def costs(self) -> dict[str, Any]:
        """Return fields of its heartbeat."""


class Heart:
    """The heartbeat of one process, among its values in the global store, once every ``every_s``.

    Args:
        traffic: by where bytes go, where they are counted.
        patience: asked for by steps that take long; each beat meanwhile counts as a step.
        name: that of the node, which each beat keeps; before it is the node's, there is no beat.
        lost: called once when another node has the name.
    """

    def __init__(
        self,
        store: Store,
        every_s: float,
        traffic: Mapping[str, Traffic] | None = None,
        patience: Patience | None = None,
        name: NodeName | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._every_s = every_s
        self._stage: Stage | None = None
        self._waiting = "starting"
        self._steps = 0
        self._stepped_at = time.monotonic()
        self._started_ns = time.time_ns()
        self._traffic = dict(traffic or {})
        self._patience = patience or Patience()
        self._name, self._lost = name, lost
        self._moved: dict[str, int] = {}  # by where, at the last beat
        self._flows = Flows()
        self._progress = 0  # MiB moved, at the last beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def watch(self, stage: Stage) -> None:
        """Report this stage from now on."""
        self._stage = stage

    def wait_for(self, what: str) -> None:
        """Report that the process waits for ``what`` before it can work."""
        self._waiting = f"waiting: {what}"
        self.count_step()

    def count_step(self) -> None:
        """Note that the main loop came round."""
        self._steps += 1
        self._stepped_at = time.monotonic()

    def stop(self) -> None:
        """Take the heartbeat back: a process that stopped as asked is not missing."""
        self._stop.set()
        self._thread.join(2.0)

    def _beat_on(self) -> None:
        while not self._stop.is_set():
            try:
                if self._may_beat():
                    self._store.put(keys.HEARTBEAT, self._beat(), expire_s=keys.HEARTBEAT_EXPIRE_S)
            except StoreError as error:
                # The main loop meets the same outage and says so; once is enough.
                logger.debug("no heartbeat: %s", error)
            except Exception:
                # This thread reads what the main loop changes meanwhile, a ring that is just let go, say.
                # Without a heart a process that is well would be restarted.
                logger.warning("a heartbeat was left out", exc_info=True)
            self._stop.wait(self._every_s)
        try:
            if self._may_beat():
                self._store.delete_many([keys.HEARTBEAT])
        except StoreError as error:
            logger.debug("heartbeat left to expire: %s", error)

    def _may_beat(self) -> bool:
        """Keep the node's name; return whether it is this node's, so that it may write under it."""
        if self._name is None:
            return True
        self._name.renew()
        if self._name.taken_by:
            self._lost()
        return self._name.is_ours and not self._name.taken_by

    def _beat(self) -> Heartbeat:
        stage = self._stage
        more: dict[str, Any] = stage.costs() if isinstance(stage, Costly) else {}
        self._count_traffic()
        if self._patience.is_asked:
            self.count_step()
        moved_bytes = sum(one.sent + one.received for one in self._traffic.values())
        if moved_bytes // PROGRESS_BYTES != self._progress:
            self._progress, self._stepped_at = moved_bytes // PROGRESS_BYTES, time.monotonic()
        return Heartbeat(
            process=self._store.prefix,
            pid=os.getpid(),
            started_ns=self._started_ns,
            beat_ns=time.time_ns(),
            steps=self._steps,
            step_age_s=time.monotonic() - self._stepped_at,
            state=self._waiting if stage is None else stage.state,
            counters={} if stage is None else dict(stage.counters),
            moved_bytes=moved_bytes,
            traffic=self._flows.per_s(),
            **more,
        )

    def _count_traffic(self) -> None:
        moved = {where: one.sent + one.received for where, one in self._traffic.items()}
        moved["disk"] = proc.written_bytes(os.getpid())
        for where, count in moved.items():
            self._flows.add(where, count - self._moved.get(where, 0))
        self._moved = moved
