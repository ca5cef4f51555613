"""Know every process of a node or cluster: what it is called, what it does, where it runs, what it waits for.

One table: ``python -m ami.daemons TYPE`` starts a process by it, ``status`` says what is missing, the monitor
knows who has a heartbeat. Tests hold ``bin/``, the entry points and ``conf/supervisord.conf`` against it.
(Rejected: to write those from it. An operator reads in them what runs, and edits them.)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One row of the table.

    Args:
        type: its name, as in keys, in ``bin/ami-TYPE`` and in supervisord's settings.
        stage: ``module:Class`` of its work, imported when it is to run; "" for a Redis server.
        help: what it does, in one line.
        place: ``node``: each host that takes events has one; ``cluster``: somewhere there is one; ``""``: a
            cluster without is well, as without an export that nobody wanted.
        count: how many ``conf/supervisord.conf`` starts.
        priority: supervisord's; the order of start, and backwards that of stop.
        waits_for: types without which it waits, and says so.
        launcher: what is in ``bin/``, with its arguments.
    """

    type: str
    stage: str
    help: str
    place: str = "node"
    count: int = 1
    priority: int
    waits_for: tuple[str, ...] = ()
    launcher: str = ""

    @property
    def command(self) -> str:
        """The program in ``bin/``, with its arguments."""
        return self.launcher or f"ami-{self.type}"


# In the order of an event's way, which is also that of `status`.
PROCESSES = (
    Process(
        type="source",
        stage="ami.daemons.source.source:SourceStage",
        help="Feed events into the ring of this node.",
        priority=60,
        waits_for=("global-redis",),
    ),
    Process(
        type="worker",
        stage="ami.daemons.worker.worker:WorkerStage",
        help="Run the graph on the events of this node's ring.",
        count=2,
        priority=50,
        waits_for=("source", "local-redis", "global-redis"),
    ),
    Process(
        type="local-reducer",
        stage="ami.daemons.reduction.local_reducer:LocalReducerStage",
        help="Merge the workers' partials of this node.",
        priority=40,
        waits_for=("source", "local-redis", "global-redis"),
    ),
    Process(
        type="global-reducer",
        stage="ami.daemons.reduction.global_reducer:GlobalReducerStage",
        help="Merge all nodes, publish the results.",
        place="cluster",
        priority=30,
        waits_for=("global-redis",),
    ),
    Process(
        type="graph-manager",
        stage="ami.daemons.manager.graph_manager:GraphManagerStage",
        help="Check and publish the graph's versions.",
        place="cluster",
        priority=20,
        waits_for=("global-redis",),
    ),
    Process(
        type="export",
        stage="ami.exports.stage:ExportStage",
        help="Hand results and figures on to another system.",
        place="",
        priority=35,
        waits_for=("global-redis",),
    ),
    Process(
        type="monitor",
        stage="ami.daemons.monitor.monitor:MonitorStage",
        help="Restart the processes of this node that hang.",
        priority=70,
    ),
    Process(
        type="local-redis",
        stage="",
        help="Keep this node's partials on their way from workers to the local reducer.",
        priority=10,
        launcher="ami-redis local",
    ),
    Process(
        type="global-redis",
        stage="",
        help="Be this node's server of the Redis Cluster: control and results.",
        priority=11,
        launcher="ami-redis global",
    ),
)
BY_TYPE = {process.type: process for process in PROCESSES}
DAEMONS = tuple(process.type for process in PROCESSES if process.stage)
SERVERS = tuple(process.type for process in PROCESSES if not process.stage)  # they have no heartbeat
ON_A_NODE = tuple(kind for kind in DAEMONS if BY_TYPE[kind].place == "node")
IN_A_CLUSTER = tuple(kind for kind in DAEMONS if BY_TYPE[kind].place == "cluster")
