"""Every Redis key that ami uses. No other module spells one out.

Each key is PREFIX:NAME, where PREFIX is HOST:TYPE:ID, its owner. What belongs to the whole cluster has
the cluster's name for HOST. On the global tier the prefix is a hash tag, {HOST:TYPE:ID}:NAME, so
that all keys of one owner share a slot and one script or transaction may change them together.

Names that begin with a capital are messages (:mod:`ami.messages`).

Local tier (one Redis a node)
    HOST:worker:N
        flushes           journal  Flush: what a worker has run; the local reducer removes them; payloads
                                   expire after FLUSH_EXPIRE_S
        covered           value    Covered: the slots of the last flush, set with it; one a worker, replaced
                                   by the next
    HOST:local-reducer:0
        workers           set      numbers of workers that ever had something to send; one small set a node

Global tier (the cluster)
    {CLUSTER:monitor:0}
        last:HOST         value    int, up to where the source of a node that is gone had read its input; one
                                   a node, replaced; `ami cluster remove --lose` removes it
    {HOST:TYPE:ID}
        heartbeat         value    Heartbeat, rewritten about once a second; expires after HEARTBEAT_EXPIRE_S
    {CLUSTER:source:0}
        schema            value    str, Schema.to_json: the fields of all nodes; replaced by the next source
        input:HOST        value    {"schema", "interval_ns", "runs", "steps"}: of a node's input, fields,
                                   length of intervals, and why runs and steps are its own, or ""
        interval          value    int, how long an interval lasts in ns; comes with the schema
        run-book          value    RunBook: the newest runs, and which nodes are in them; one, replaced
        run-orders        value    RunOrders: borders that people asked for, the newest; one, replaced
        ordered           stream   numbers of orders that were given or changed; bounded
        schedules         value    {run: (time of an event, when it was due)}, in ns, of replays in shares;
                                   one, replaced
    {CLUSTER:graph-manager:0}
        requests          queue    from clients, JSON; the manager removes each when it has answered
        requests-of:NAME  queue    the same of an account, which may write to no other; the manager moves
                                   them into requests, with the name
        accounts          value    {ROLE:NAME: SHA-256 of the password}: who was given access; one, replaced
        reply:ID          queue    one answer for the client that asked; expires (manager.reply_s)
        graph:V           value    dict, Graph.to_plain: what runs; the manager removes old ones
                                   (manager.keep_versions)
        document:V        value    str, YAML: what people wrote, of which graph:V was made;
                                   comes and goes with it
        current           value    {"version", "hash"}
        stop              value    {"asked_ns", "phase"}: all nodes are to stop; expires soon
        tried             value    by SHA-1 the requests that a manager has in hand, and how often one ended
                                   with it; one, replaced
        answered          value    by id the last answers that made no version, for who finds their requests
                                   again; one, replaced
        versions          stream   numbers of published versions; bounded
        state             value    history, answers
        lease             lease    the acting manager
    {CLUSTER:global-reducer:0}
        inbox:HOST        journal  Batch, of a node; the global reducer removes what is in its checkpoint
        large:HOST        journal  LargeBatch, of a node; the same of its large lane
        large-mark:HOST   value    LargeMark: how far the node's spans are in it, set with each batch
        mark:HOST         value    Mark: how far the node's flushes are in its inbox, set with each batch
        checkpoint        value    Checkpoint: state and applied batches; one, replaced
        large-checkpoint  value    LargeCheckpoint: the same of the large lane; names its parts
        large-part:T:N    value    a state in it, written under lease token T; goes when it is replaced. While
                                   the store is of one machine it lies in shared memory, and not here
        large-published   value    Published: which pieces of results are of its states, set with it
        refused           value    {fingerprint: (graph version, why)}: whose states the large lane let go;
                                   the nodes make them no more; one, replaced
        table:LANE        value    Table: the latest small results of a lane, "small" or "large"; one a lane,
                                   replaced; their names are not in it any more after their operations
        result:NAME       value    latest result that is too large for a table; the global reducer removes it
                                   with its operation
        piece:NAME:T:N    value    a piece of one that is too large for one value; goes with it
        results           stream   which results are new: names of keys, or the lane of a table; bounded
        history:LANE      stream   Moment: the numbers of an interval, for time plots; bounded; what is older
                                   than "since_version" of the catalogue is of an operation that is gone
        offences:LANE     value    {fingerprint: (weight, how)}: people's functions of results that hang or
                                   end their process; one a lane, replaced; each goes with its operation
        lease             lease    the acting global reducer
        nodes             set      hosts that ever sent a batch, until an operator removes them
        node:HOST         text     which machine and folder has this name, while it lives (NODE_LEASE_S), or
                                   "left": it stopped in order; one a node
        catalogue         value    {name: {"operation", "owners", "since_version"}} of what is published

    {CLUSTER:web:0}
        layouts           dict     JSON of each named arrangement of tiles; people remove them

What the stores themselves keep beside these, PREFIX:…
    %index            zset     names of the mapping's values, by the time at which they expire
    %kinds            hash     which names are live collections, and of what kind
    NAME:N            bytes    payload of record N of journal NAME; goes with its record
    NAME:N:new        bytes    the same on its way in, or any large value; expires after a minute
    NAME:taken        list     items of queue NAME that a consumer has and has not done
    NAME:put:ID       bytes    that item ID was put into queue NAME; expires after MARK_EXPIRE_S
    NAME:token        int      the last token of lease NAME; stays, because tokens must ascend
"""

from __future__ import annotations

HEARTBEAT = "heartbeat"
HEARTBEAT_EXPIRE_S = 30.0
MARK_EXPIRE_S = 300.0  # longer than anybody tries
FLUSHES = "flushes"
# Longer than any repair takes; shorter than a worker's number lies idle for ever with memory in use.
FLUSH_EXPIRE_S = 86400.0
COVERED = "covered"
WORKERS = "workers"
SCHEMA = "schema"
INTERVAL = "interval"
RUN_BOOK = "run-book"
RUN_ORDERS = "run-orders"
ORDERED = "ordered"
SCHEDULES = "schedules"
REQUESTS = "requests"
ACCOUNTS = "accounts"
CURRENT = "current"
STOP = "stop"
TRIED = "tried"
ANSWERED = "answered"
VERSIONS = "versions"
STATE = "state"
LEASE = "lease"
CHECKPOINT = "checkpoint"
LARGE_CHECKPOINT = "large-checkpoint"
LARGE_PUBLISHED = "large-published"
REFUSED = "refused"
RESULTS = "results"
NODES = "nodes"
NODE_LEASE_S = 6.0  # longer than a loaded machine leaves a heartbeat out
CATALOGUE = "catalogue"
LAYOUTS = "layouts"

SMALL = "small"
LARGE = "large"
LANES = (SMALL, LARGE)

INDEX = "%index"
KINDS = "%kinds"


def prefix(host: str, process_type: str, number: int) -> str:
    """Return the prefix of a process's keys; ``host`` is the cluster's name for what belongs to it."""
    return f"{host}:{process_type}:{number}"


def requests_of(account: str) -> str:
    return f"requests-of:{account}"


def reply(request: str) -> str:
    return f"reply:{request}"


def graph(version: int | str) -> str:
    return f"graph:{version}"


def document(version: int | str) -> str:
    return f"document:{version}"


def node(host: str) -> str:
    return f"node:{host}"


def last(host: str) -> str:
    return f"last:{host}"


def input(host: str) -> str:
    return f"input:{host}"


def inbox(host: str) -> str:
    return f"inbox:{host}"


def large_inbox(host: str) -> str:
    return f"large:{host}"


def large_mark(host: str) -> str:
    return f"large-mark:{host}"


def large_part(token: int, number: int) -> str:
    return f"large-part:{token}:{number}"


def numbers_of_part(name: str) -> tuple[int, int]:
    """Return token and number of a part."""
    _, token, number = name.split(":")
    return int(token), int(number)


def is_large_part(name: str) -> bool:
    return name.startswith("large-part:")


def result_piece(name: str, token: int | str, number: int | str) -> str:
    return f"piece:{name}:{token}:{number}"


def is_result_piece(name: str) -> bool:
    return name.startswith("piece:")


def mark(host: str) -> str:
    return f"mark:{host}"


def result(name: str) -> str:
    return f"result:{name}"


def table(lane: str) -> str:
    return f"table:{lane}"


def offences(lane: str) -> str:
    return f"offences:{lane}"


def history(lane: str) -> str:
    return f"history:{lane}"


# What the stores put together themselves.


def full(prefix: str, name: str, *, tagged: bool) -> str:
    """Return the key of ``name`` on a tier; ``tagged``: the prefix is a hash tag there."""
    return f"{{{prefix}}}:{name}" if tagged else f"{prefix}:{name}"


def parts(key: str) -> tuple[str, str]:
    """Return prefix and name of a key of either tier; a foreign key has no prefix."""
    if key.startswith("{") and "}:" in key:
        prefix, _, name = key[1:].partition("}:")
        return prefix, name
    words = key.split(":", 3)
    return (":".join(words[:3]), words[3]) if len(words) == 4 else ("", key)


def payload(journal: str, number: int) -> str:
    return f"{journal}:{number}"


def arriving(key: str, mark: object) -> str:
    return f"{key}:{mark}:new"


def taken(queue: str) -> str:
    return f"{queue}:taken"


def put_mark(queue: str, identifier: str) -> str:
    return f"{queue}:put:{identifier}"


def token(lease: str) -> str:
    return f"{lease}:token"
