"""Let a server that is a cluster by itself serve at once, instead of 2 s after its start.

A primary that begins refuses commands for that long (`CLUSTER_WRITABLE_DELAY`), as others may have taken its
place while it was away. Who knows of no others waits in vain. A copy does not wait: so such a server begins
as the copy of one that never was, which has all slots, at a port where nobody can be, and takes its place
with what it has itself; then the other one is forgotten. (Rejected: no cluster where there is one server.
Clients would have to know two kinds, and a node could not become part of a cluster with what it has.)

What is imported here, each start of a server waits for.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ami.config import GlobalStoreConfig

PREDECESSOR: Final = "f" * 40  # the id of the one that never was
_PAUSES_S: Final = (0.002, 0.1)
_ANSWER_S: Final = 5.0
_LAST_SLOT: Final = 16_383


def prepare(nodes: Path, *, hurried: bool = True) -> bool:
    """Write into a server's view of the cluster that it is a copy, if it is alone; return whether it is now.

    Args:
        nodes: its ``nodes.conf``.
        hurried: no: what an earlier start, which was killed, left of this is taken back.
    """
    try:
        *lines, last = nodes.read_text().splitlines()
    except (OSError, ValueError):
        return False  # it is to be introduced to others
    servers = [line.split() for line in lines if line.split()[:1] not in ([], [PREDECESSOR])]
    is_begun = len(servers) < len(lines)
    if len(servers) != 1 or not (is_begun or servers[0][8:] == [f"0-{_LAST_SLOT}"]):
        return False
    own, place = servers[0][0], servers[0][1].partition(",")[0]
    epoch = last.split()[2]
    if hurried:
        told = [
            f"{own} {place} myself,slave {PREDECESSOR} 0 0 {epoch} connected",
            f"{PREDECESSOR} 127.0.0.1:0@0 master - 0 0 {epoch} disconnected 0-{_LAST_SLOT}",
        ]
    elif is_begun:
        told = [f"{own} {place} myself,master - 0 0 {epoch} connected 0-{_LAST_SLOT}"]
    else:
        return False
    new = nodes.with_name("nodes.conf.new")
    new.write_text("\n".join([*told, last, ""]))
    new.replace(nodes)
    return hurried


def take_place(config: GlobalStoreConfig, address: str, server: int) -> None:
    """Let it take the place of the other one as soon as it answers; returns at once, a process does it.

    Args:
        server: the process that is, or becomes, the server.
    """
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    # A child of nobody's: what becomes the server looks after none that it does not know.
    if os.fork():
        os._exit(0)
    try:
        _take_place(config, address, server)
    except BaseException as error:  # whatever it is, this copy of the launcher must not go on
        sys.stderr.write(f"ami: the server at {address}:{config.port} begins late: {error!r}\n")
    finally:
        os._exit(0)


def _take_place(config: GlobalStoreConfig, address: str, server: int) -> None:
    password = config.password_file.read_text(encoding="utf-8").strip()
    pause_s, longest_s = _PAUSES_S
    while _is_alive(server):
        try:
            with socket.create_connection((address, config.port), _ANSWER_S) as line:
                _ask(line, "AUTH", config.username, password)
                told = _ask(line, "CLUSTER", "FAILOVER", "TAKEOVER")
                # In the second case it was done already, by one that did not come so far as to forget.
                if told == "+OK" or "to a replica" in told:
                    _ask(line, "CLUSTER", "FORGET", PREDECESSOR)
                    return
        except OSError:
            pass  # it is not there yet, or reads its file
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)


def _ask(line: socket.socket, *words: str) -> str:
    line.sendall(_pack(words))
    answer = b""
    while not answer.endswith(b"\r\n"):
        part = line.recv(4096)
        if not part:
            raise ConnectionResetError("the server closed the connection")
        answer += part
    return answer.decode(errors="replace").strip()


def _pack(words: Sequence[str]) -> bytes:
    parts = [word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
