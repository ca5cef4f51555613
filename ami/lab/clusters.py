"""Lay out Redis Clusters of several primary nodes, so that they are whole as soon as their servers run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ami.cluster import servers
from ami.config import GlobalStoreConfig


@dataclass(frozen=True, slots=True)
class Member:
    """A primary node of a cluster: its id (40 hex digits), port, slots, and address."""

    id: str
    port: int
    first_slot: int
    last_slot: int
    host: str = "127.0.0.1"


def members(ports: Sequence[int], hosts: Sequence[str] = ()) -> list[Member]:
    """Return as many nodes, which share the slots."""
    bounds = [servers.SLOTS * n // len(ports) for n in range(len(ports) + 1)]
    places = zip(ports, hosts or ["127.0.0.1"] * len(ports), strict=True)
    return [
        Member(secrets.token_hex(20), port, bounds[n], bounds[n + 1] - 1, host)
        for n, (port, host) in enumerate(places)
    ]


def write_layout(everyone: Sequence[Member], own: Member, path: Path, copies: Sequence[Member] = ()) -> None:
    """Write a node's view of the cluster, before its first start: introducing them takes seconds more.

    Args:
        copies: replicas, one for each of ``everyone``.
    """
    lines = [
        f"{one.id} {one.host}:{one.port}@{one.port + servers.BUS} {'myself,' if one is own else ''}master"
        f" - 0 0 {number} connected {one.first_slot}-{one.last_slot}\n"
        for number, one in enumerate(everyone, start=1)
    ]
    lines += [
        f"{one.id} {one.host}:{one.port}@{one.port + servers.BUS} {'myself,' if one is own else ''}slave"
        f" {primary.id} 0 0 {number} connected\n"
        for number, (primary, one) in enumerate(zip(everyone, copies, strict=False), start=1)
    ]
    path.write_text("".join(lines) + f"vars currentEpoch {len(everyone)} lastVoteEpoch 0\n")


def prepare(everyone: Sequence[Member], config: GlobalStoreConfig, folder: Path) -> Iterator[list[str]]:
    """Yield the command that starts each node, in a folder below ``folder``."""
    servers.read_or_make_password(config.password_file)  # as the first machine of a cluster does
    for own in everyone:
        place = folder / f"cluster-{own.port}"
        command = servers.prepare_global(replace(config, port=own.port), place)
        write_layout(everyone, own, place / "nodes.conf")
        yield command
