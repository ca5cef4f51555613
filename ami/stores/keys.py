"""Every Redis key that ami uses. No other module spells one out.

Each key is PREFIX:NAME, and PREFIX is HOSTNAME:PROCESS_TYPE:ID, the owner. What belongs to the whole
cluster has the cluster's name there, so that another host's process finds it. On the global
tier the prefix is in braces, a Redis Cluster hash tag: all keys of one owner share a slot, so one
script or MULTI may change them together.

Local tier (one Redis a node)
    HOST:worker:N:flushes            journal  partials of entries; the local reducer removes what it has
                                              sent on; expires a day after the last flush
    HOST:worker:N:covered            value    number, ring and slots of the last flush
    HOST:local-reducer:0:workers     set      numbers of all workers that ever stored a flush here
Global tier (the cluster)
    {HOST:TYPE:N}:heartbeat          value    of every process; removed at its end; expires after 30 s
    {CLUSTER:source:0}:schema        value    fields of the events, as JSON text; the next source replaces it
    {CLUSTER:source:0}:runs          counter  `last`: number of the last run
    {CLUSTER:graph-manager:0}:requests  queue    of clients; taken into `requests:processing` until answered
    {CLUSTER:graph-manager:0}:reply:ID  queue    the answer to one request; expires after manager.reply_s
    {CLUSTER:graph-manager:0}:graph:V   value    a version of the graph; the manager removes old ones
    {CLUSTER:graph-manager:0}:current   value    version and hash of the graph that counts
    {CLUSTER:graph-manager:0}:versions  stream   a notification for each new version; bounded
    {CLUSTER:graph-manager:0}:state     value    history of versions, answers given
    {CLUSTER:graph-manager:0}:lease     lease    of the manager that acts; expires after manager.lease_s
    {CLUSTER:global-reducer:0}:inbox:HOST    journal  batches of a node; trimmed at each checkpoint
    {CLUSTER:global-reducer:0}:mark:HOST     value    what the node's last batch contains
    {CLUSTER:global-reducer:0}:nodes         set      hosts that ever sent a batch
    {CLUSTER:global-reducer:0}:checkpoint    value    the state, with the numbers of the batches in it
    {CLUSTER:global-reducer:0}:result:NAME   value    a result; removed when the graph has it no longer
    {CLUSTER:global-reducer:0}:history:NAME  stream   a scalar result, interval by interval; bounded
    {CLUSTER:global-reducer:0}:results       stream   a notification for each published interval; bounded
    {CLUSTER:global-reducer:0}:catalogue     value    names of the results, each with its window
    {CLUSTER:global-reducer:0}:lease         lease    of the global reducer that acts; expires
"""

from __future__ import annotations

from typing import Final

HEARTBEAT: Final = "heartbeat"
HEARTBEAT_EXPIRE_S: Final = 30.0

FLUSHES: Final = "flushes"
FLUSH_EXPIRE_S: Final = 86400.0
COVERED: Final = "covered"
WORKERS: Final = "workers"

SCHEMA: Final = "schema"
RUNS: Final = "runs"

REQUESTS: Final = "requests"
CURRENT: Final = "current"
VERSIONS: Final = "versions"
STATE: Final = "state"
LEASE: Final = "lease"

NODES: Final = "nodes"
CHECKPOINT: Final = "checkpoint"
RESULTS: Final = "results"
CATALOGUE: Final = "catalogue"


def prefix(host: str, process_type: str, number: int) -> str:
    """Return the owner's prefix: ``HOSTNAME:PROCESS_TYPE:ID``. ``host`` is the cluster's name for what belongs to it."""
    return f"{host}:{process_type}:{number}"


def reply(request_id: str) -> str:
    return f"reply:{request_id}"


def graph(version: int) -> str:
    return f"graph:{version}"


def inbox(host: str) -> str:
    return f"inbox:{host}"


def mark(host: str) -> str:
    return f"mark:{host}"


def result(name: str) -> str:
    return f"result:{name}"


def history(name: str) -> str:
    return f"history:{name}"
