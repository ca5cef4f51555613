"""How many events a worker claims at once: as many as are cheap to hold, no more than a step may last."""

from __future__ import annotations

from ami.config import WorkerConfig

# A block's run time is kept below this, so that the worker comes round often enough to be seen
# alive, to notice a stop, and to share the load with the others.
STEP_S = 0.05
# Code of 0.1 s an event is still in time with these; cheap code has its full blocks ten blocks later.
FIRST_EVENTS = 8
# An event that takes longer than this is dear: what is there of such is shared out among the workers, or one
# would have all that came before the end of an interval, and the results of that wait for it.
DEAR_S = 0.002


class BlockSize:
    """Grows while blocks are quick, shrinks when they are slow (user code of milliseconds an event).

    Attributes:
        events: at once, at the most.
        is_dear: whether an event takes so long that no worker should have more of them than the others.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._most = config.block_events
        self.events = min(FIRST_EVENTS, self._most)
        self.is_dear = False

    def learn(self, events: int, elapsed_s: float) -> None:
        """Learn from a block that was run."""
        self.is_dear = elapsed_s > DEAR_S * events
        if elapsed_s > STEP_S:
            self.events = max(1, min(self.events, events) // 2)
        elif elapsed_s < STEP_S / 4:
            self.events = min(self._most, 2 * self.events)

    def learn_one_by_one(self, events: int, elapsed_s: float) -> None:
        """Learn from events that were run one by one: so many of them fit into a step, at the least."""
        self.events = max(1, min(self.events, int(events * STEP_S / max(elapsed_s, 1e-9))))
