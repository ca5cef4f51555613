"""Read and write the file by which a person or host that has no node of its own gets into a global store.

`ami access add` writes it, with mode 0600, and it goes to its owner by a way that nobody else reads. It has
all that is needed to get in: addresses, user, password, and the certificate by which the servers are known.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ami.config import Config
from ami.errors import ConfigError

HOME_FILE = Path("~/.config/ami/access")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What an access file says.

    ``user`` is ROLE:NAME, as the servers know it; ``nodes`` are HOST:PORT of servers; ``ca`` is the
    certificate, as text, by which theirs are known, "" where they have none.
    """

    cluster: str
    user: str
    password: str
    nodes: tuple[str, ...]
    ca: str = ""

    @property
    def name(self) -> str:
        """Whose edits these are."""
        return self.user.partition(":")[2]


def write_access(path: Path, access: Access) -> None:
    """Write an access file, for its owner's eyes only.

    Raises:
        ConfigError: there is a file already, or it cannot be written.
    """
    lines = [
        f"# Who has this file is {access.user} in the cluster {access.cluster}: keep it secret, mode 600."
    ]
    for one in fields(access):
        value = getattr(access, one.name)
        lines.append(f"{one.name} = {json.dumps(list(value) if isinstance(value, tuple) else value)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("\n".join(lines) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def read_access(path: Path) -> Access:
    """Return what an access file says.

    Raises:
        ConfigError: it cannot be read, others can read it, or it is none.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"others can read the access file {path}; `chmod 600` it")
            said = tomllib.load(file)
        nodes = said.pop("nodes")
        texts = {one.name: said.get(one.name, "") for one in fields(Access) if one.name != "nodes"}
        if not all(isinstance(text, str) for text in [*nodes, *texts.values()]) or ":" not in texts["user"]:
            raise ValueError("other values than `ami access add` writes")
        return Access(nodes=tuple(nodes), **texts)
    except OSError as error:
        raise ConfigError(f"the access file {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is no access file as `ami access add` writes it: {error}") from error


def use_access(config: Config) -> Config:
    """Return the settings with which a client gets in: by an access file, where one is named or needed.

    Needed it is where nobody can read the secret of a node; then the one in the home folder is taken.

    Raises:
        ConfigError: see :func:`read_access`.
    """
    path = Path(config.global_store.access_file)
    if not config.global_store.access_file:
        path = HOME_FILE.expanduser()
        if os.access(config.global_store.password_file, os.R_OK) or not path.exists():
            return config
    access = read_access(path)
    store = replace(config.global_store, access_file=str(path), start_nodes=access.nodes)
    return replace(config, global_store=store, node=replace(config.node, cluster=access.cluster))
