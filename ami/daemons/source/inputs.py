"""Tell the cluster what the input of this node is, and what there is on all nodes together.

Each node has a schema of its own; graphs are checked against the fields of all of them. A name that two
nodes have for fields of different kinds is no field, by that reason, until one of them is renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Any

from ami.errors import Conflict, SourceError
from ami.event import Field, Schema
from ami.messages.sent import sign_sent
from ami.sources.base import NOTHING, Dictates
from ami.stores import ABSENT, Store, keys
from ami.stores.membership import Members


class Inputs:
    """The inputs of the cluster's nodes, as the source of one of them sees and tells them.

    Args:
        store: what belongs to the cluster's source.
        reducer: what belongs to its global reducer.
    """

    def __init__(self, store: Store, reducer: Store, host: str) -> None:
        self._store = store
        self._reducer = reducer
        self._host = host

    def tell(self, schema: Schema, interval_ns: int, dictates: Dictates = NOTHING) -> str:
        """Say what this node's input is; return why it must not play it now, "" as a rule.

        Raises:
            StoreUnavailable: call again.
        """
        self._reducer.set(keys.NODES).add(self._host)
        told = {"schema": schema.to_json(left_out=True), "interval_ns": interval_ns, "sent": sign_sent()}
        told |= dictates._asdict()
        self._store.put(keys.input(self._host), told)
        while True:
            # What is to be replaced before what is put together: whoever is second sees the other's, too.
            before = self._store.get(keys.SCHEMA)
            members = Members.read(self._reducer)
            others = _read(self._store, members.expected - {self._host})
            for host in sorted(others.keys() & members.here):
                # What one version sends, a reducer of another cannot read: its events would be lost.
                if others[host].get("sent") != sign_sent():
                    return f"{host} runs another version of ami: install the same, and start both nodes again"
                theirs_ns = others[host]["interval_ns"]
                if theirs_ns != interval_ns:
                    return (
                        f"intervals last {interval_ns / 1e9:g} s here and {theirs_ns / 1e9:g} s on {host}: "
                        f"set source.interval_s, or interval= of the source, to the same on all nodes"
                    )
            schemas = {host: Schema.from_json(one["schema"]) for host, one in others.items()}
            try:
                whole = unite({**schemas, self._host: schema}).to_json(left_out=True)
            except SourceError as error:
                return f"all nodes together: {error}"
            if whole == before:
                return ""
            try:
                self._store.compare_and_set(keys.SCHEMA, ABSENT if before is None else before, whole)
            except Conflict:
                continue
            return ""


def _read(store: Store, hosts: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Return what the nodes told of their inputs; what cannot be understood is none."""
    names = {keys.input(host): host for host in hosts}
    found = {}
    for name, told in store.get_many(names).items():
        try:
            Schema.from_json(told["schema"])
            told["interval_ns"] / 1e9
        except (SourceError, KeyError, TypeError):
            continue
        found[names[name]] = told
    return found


def unite(schemas: Mapping[str, Schema]) -> Schema:
    """Return the fields of all nodes, in the order of the nodes' names.

    A name of which kind or unit is not the same everywhere is left out, with who has it how.
    """
    fields: dict[str, Field] = {}
    whose: dict[str, str] = {}
    differs: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for host in sorted(schemas):
        for field in schemas[host].fields:
            known = fields.setdefault(field.name, field)
            first = whose.setdefault(field.name, host)
            if known != field:
                why = f"it is {_describe(known)} on {first} and {_describe(field)} on {host}"
                differs.setdefault(field.name, why)
        left_out = {**schemas[host].left_out, **left_out}
    for field in [one for one in fields.values() if one.variable]:  # and its length go together
        for name, other in permutations((field.name, field.length_name)):
            if name in differs:
                differs.setdefault(other, differs[name])
    kept = tuple(field for field in fields.values() if field.name not in differs)
    return Schema(kept, {name: why for name, why in left_out.items() if name not in fields} | differs)


def _describe(field: Field) -> str:
    shape = "×".join(map(str, field.shape)) if field.shape else "a number"
    unit = f" in {field.unit}" if field.unit else ""
    return f"{field.dtype.name}, {shape}{' at most' if field.variable else ''}{unit}"
