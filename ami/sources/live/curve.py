"""Read the keys with which a sender and the nodes know each other, and refuse what is open to others.

A file has a key pair of its own and the other side's public key, as ZeroMQ writes them (Z85), and mode 0600.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ami.errors import SourceError

WANTED = "a file that `ami-daq --make-keys` made is wanted"
LOOPBACK = re.compile(r"127\.[\d.]+|localhost|\[::1\]")


class Keys(NamedTuple):
    """Public and secret key of one side, and the public key of the other."""

    public: bytes
    secret: bytes
    peer: bytes


def read_keys(path: Path) -> Keys:
    """Return the keys in a file.

    Raises:
        SourceError: it cannot be read, others may read it, or it holds no keys.
    """
    try:
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise SourceError(
                f"keys={path}: its mode is {mode:04o}, and others may read it: chmod 600 {path}"
            )
        plain = json.loads(path.read_text(encoding="ascii"))
        keys = Keys(*(str(plain[name]).encode("ascii") for name in Keys._fields))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"keys={path}: {error!r}; {WANTED}") from error
    if any(len(key) != 40 for key in keys):
        raise SourceError(f"keys={path}: a key has 40 characters; {WANTED}")
    return keys


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write two new files, for the sender and for all nodes; return their paths.

    Raises:
        SourceError: one is there already, or cannot be written.
    """
    import zmq

    (sender, sender_secret), (node, node_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    made = {"daq-sender.key": (sender, sender_secret, node), "daq-node.key": (node, node_secret, sender)}
    paths = []
    for name, keys in made.items():
        path = folder / name
        text = json.dumps({part: key.decode() for part, key in zip(Keys._fields, keys, strict=True)})
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}; keys are never overwritten") from error
        with os.fdopen(fd, "w") as file:
            file.write(text + "\n")
        paths.append(path)
    return paths[0], paths[1]


def require_keys(text: str, host: str, keys: Keys | None, *, plain: bool) -> None:
    """Refuse to speak in the clear with other machines, unless that was asked for.

    Raises:
        SourceError
    """
    if keys is None and not plain and not LOOPBACK.fullmatch(host):
        raise SourceError(
            f"{text}: {host} is not this machine alone, and without keys anybody there could send events, or "
            f"take them. `ami-daq --make-keys FOLDER` makes some; plain=yes is for a network of yours alone"
        )


def secure(socket: Any, keys: Keys | None, *, server: bool) -> None:
    """Give a socket its keys, before it is bound or connected."""
    if keys is None:
        return
    socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
    if server:
        socket.curve_server = True
    else:
        socket.curve_serverkey = keys.peer
