"""Many equal results: from two workers that add them together to what a client reads of each."""

from __future__ import annotations

from typing import Any

import pytest

from ami.client.updates import read_results
from ami.config import GlobalStoreConfig, LocalStoreConfig
from ami.daemons.reduction.global_reducer import GlobalReducerStage
from ami.daemons.reduction.local_reducer import LocalReducerStage
from ami.daemons.worker.worker import WorkerStage
from ami.event import Transition
from ami.graph.language.text import graph_of
from ami.result import Result
from ami.stores.client import ClusterLink, LocalLink
from ami.stores.opened import Stores
from tests.daemons_rig import Shift, config, die, put_graph, setup, steps
from tests.ring_rig import ring_name

pytestmark = pytest.mark.integration

MANY = 1000
TEXT = "values:\n  level: x * 1.0\nresults:\n" + "".join(
    f"  {of}{n}: mean_events({value} - {n}, window={window})\n"
    for of, value, window, count in (
        ("now", "level", "interval", MANY),
        ("odd", "(level where x % 2 == 1)", "run", 10),
    )
    for n in range(count)
)
GRAPH = graph_of(TEXT).at_version(1)
COUNTS = (40, 1, 33, 26)  # events of each interval


class Node:
    """A ring and the stores of a host and a cluster that no other test has."""

    def __init__(self, ring: str, local: LocalStoreConfig, cluster: GlobalStoreConfig) -> None:
        self._links = LocalLink(local), ClusterLink(cluster)
        self._config = config(ring, local, cluster, host="host-many", cluster_name="of-many")
        stores = Stores(self._config, local=self._links[0], cluster=self._links[1])
        put_graph(stores.cluster("graph-manager"), GRAPH)
        self.results = stores.cluster("global-reducer")
        self.shift = Shift(ring)

    def stage(self, kind: Any, number: int = 0) -> Any:
        local, cluster = self._links
        made = kind(setup(self._config, local=local, cluster=cluster, number=number))
        made.start()
        return made

    def run(self) -> None:
        """Put all events through two workers, of which one dies and comes back."""
        ring = self.shift.ring
        workers = [self.stage(WorkerStage, number) for number in range(2)]

        def all_stored() -> bool:
            workers[0].step()
            return all(map(ring.is_complete, range(ring.cursor.entries_opened)))

        self.shift.transition(Transition.BEGIN_RUN)
        for place, count in enumerate(COUNTS):
            self.shift.interval(count)
            for worker in workers:
                worker.step()
            if place == 2:
                die(workers[1])
                workers[1] = self.stage(WorkerStage, 1)
        steps(workers[1], all_stored)
        for one in workers:
            one.close()

    def reduce(self) -> dict[str, Result]:
        """Return what a client reads when everything is reduced."""
        ring = self.shift.ring
        reducer, last = self.stage(LocalReducerStage), self.stage(GlobalReducerStage)
        steps(reducer, lambda: ring.released >= ring.cursor.entries_closed)
        found: dict[str, Result] = {}

        def all_there() -> bool:
            found.update(read_results(self.results, GRAPH.results))
            return len(found) == len(GRAPH.results) and found["odd0"].events.expected == sum(COUNTS)

        steps(last, all_there)
        reducer.close()
        last.close()
        return found

    def close(self) -> None:
        self.shift.close()
        for link in self._links:
            link.close()


def test_each_of_a_thousand_means_is_complete_also_when_a_worker_dies(
    local_redis: LocalStoreConfig, cluster: GlobalStoreConfig
) -> None:
    with ring_name() as name:
        node = Node(name, local_redis, cluster)
        node.run()
        found = node.reduce()
        node.close()
    newest, odd = range(sum(COUNTS) - COUNTS[-1], sum(COUNTS)), range(1, sum(COUNTS), 2)
    for n in range(MANY):
        result = found[f"now{n}"]
        assert result.complete
        assert result.value == pytest.approx(sum(newest) / len(newest) - n)
        assert (result.events.expected, result.events.used) == (COUNTS[-1], COUNTS[-1])
    for n in range(10):
        assert found[f"odd{n}"].value == pytest.approx(sum(odd) / len(odd) - n)
        assert found[f"odd{n}"].events.used == len(odd)
