"""Know every process of a node or cluster: what it is called, what it does, where it runs, what it waits for.

One table: ``python -m ami.daemons TYPE`` starts a process by it, ``status`` says what is missing, the monitor
knows who has a heartbeat. Tests hold ``bin/``, the entry points and ``conf/supervisord.conf`` against it.
(Rejected: to write those from it. An operator reads in them what runs, and edits them.)
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True, slots=True)
class Process:
    """One row of the table.

    Args:
        type: its name, as in keys, in ``bin/ami-TYPE`` and in supervisord's settings.
        priority: supervisord's; the order of start, and backwards that of stop.
        stage: ``module:Class`` of its work, imported when it is to run; "" for a Redis server.
        help: what it does, in one line.
        place: ``node``: each host that takes events has one; ``cluster``: somewhere there is one; ``""``: a
            cluster without is well, as without an export that nobody wanted.
        count: how many ``conf/supervisord.conf`` allows for.
        waits_for: types without which it waits, and says so.
        launcher: what is in ``bin/``, with its arguments.
    """

    type: str
    priority: int
    stage: str
    help: str
    _: KW_ONLY
    place: str = "node"
    count: int = 1
    waits_for: tuple[str, ...] = ()
    launcher: str = ""

    @property
    def command(self) -> str:
        """The program in ``bin/``, with its arguments."""
        return self.launcher or f"ami-{self.type}"


_GLOBAL = ("global-redis",)
_NODE = ("source", "local-redis", "global-redis")

# In the order of an event's way, which is also that of `status`.
# fmt: off
PROCESSES = (
    Process("source", 60, "ami.daemons.source.source:SourceStage",
            "Feed events into the ring of this node.", waits_for=_GLOBAL),
    Process("worker", 50, "ami.daemons.worker.worker:WorkerStage",
            "Run the graph on the events of this node's ring.", waits_for=_NODE, count=250),
    Process("local-reducer", 40, "ami.daemons.reduction.local_reducer:LocalReducerStage",
            "Merge the workers' partials of this node.", waits_for=_NODE),
    Process("global-reducer", 30, "ami.daemons.reduction.global_reducer:GlobalReducerStage",
            "Merge all nodes, publish the results.", waits_for=_GLOBAL, place="cluster"),
    Process("graph-manager", 20, "ami.daemons.manager.graph_manager:GraphManagerStage",
            "Check and publish the graph's versions.", waits_for=_GLOBAL, place="cluster"),
    Process("export", 35, "ami.exports.stage:ExportStage",
            "Hand results and figures on to another system.", waits_for=_GLOBAL, place="", count=16),
    Process("web", 36, "ami.web.stage:WebStage",
            "Serve the page: results live in a browser, and the graph to edit.", waits_for=_GLOBAL, place=""),
    Process("monitor", 70, "ami.daemons.monitor.monitor:MonitorStage",
            "Restart the processes of this node that hang."),
    Process("local-redis", 10, "", launcher="ami-redis local",
            help="Keep this node's partials on their way from workers to the local reducer."),
    Process("global-redis", 11, "", launcher="ami-redis global",
            help="Be this node's server of the Redis Cluster: control and results."),
    Process("replica-redis", 12, "", launcher="ami-redis replica", place="",
            help="Hold a copy of another machine's server of the cluster, and take its place when it dies."),
)
# fmt: on
BY_TYPE = {process.type: process for process in PROCESSES}
DAEMONS = tuple(process.type for process in PROCESSES if process.stage)
SERVERS = tuple(process.type for process in PROCESSES if not process.stage)  # they have no heartbeat
ON_A_NODE = tuple(kind for kind in DAEMONS if BY_TYPE[kind].place == "node")
IN_A_CLUSTER = tuple(kind for kind in DAEMONS if BY_TYPE[kind].place == "cluster")
