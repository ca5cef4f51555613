"""Keep who was given access to a cluster, and tell each of its servers.

The list is a value in the global store: accounts, ROLE:NAME, and the SHA-256 of each password. Whoever
changes it tells all servers that answer; each node's monitor tells its own servers what they lack, those that
join or come back later too. A server keeps what it was told in a file of its own, so that it lets accounts in
from its first moment on, and a cluster that lost its store to a power cut has them still. (Rejected: to let
the servers' files be the list. One that was away while an account was removed would bring it back.)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from ami.errors import AmiError, Conflict, StoreError
from ami.stores import ABSENT, Store, keys, roles
from ami.stores.link import Refused
from ami.stores.server import ServerLink

TRIES = 20


class Accounts:
    """The accounts of a cluster.

    Args:
        store: what belongs to the cluster's graph manager.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, servers: Iterable[ServerLink] = ()) -> dict[str, str]:
        """Return the accounts and their passwords' digests; where the store has no list, the servers'."""
        known = self._store.get(keys.ACCOUNTS)
        if isinstance(known, dict):
            return dict(known)
        return {user: digest for server in servers for user, digest in _ask(server).items()}

    def add(self, name: str, role: str, servers: list[ServerLink]) -> tuple[str, str, list[str]]:
        """Give somebody access; return user, password, and which servers could not be told yet.

        Raises:
            AmiError: the name is taken or none, or there is no such role.
        """
        if role not in roles.FOR_ACCOUNTS or not roles.ACCOUNT.fullmatch(name):
            raise AmiError(
                f"{role} {name!r}: a role is one of {', '.join(roles.FOR_ACCOUNTS)}, a name a small letter "
                f"with up to 30 small letters, digits, '_' and '-' behind it"
            )
        user, password = roles.account_user(role, name), secrets.token_urlsafe(32)

        def put(known: dict[str, str]) -> None:
            taken = next((one for one in known if one.partition(":")[2] == name), None)
            if taken is not None:
                raise AmiError(f"{name} has access already, as {taken}: `ami access remove {name}` first")
            known[user] = roles.digest(password)

        return user, password, self._change(put, servers)

    def remove(self, name: str, servers: list[ServerLink]) -> list[str]:
        """Take somebody's access away, open connections too; return which servers could not be told yet.

        Raises:
            AmiError: there is nobody of this name.
        """

        def drop(known: dict[str, str]) -> None:
            users = [one for one in known if one.partition(":")[2] == name]
            if not users:
                raise AmiError(f"nobody of the name {name!r} has access; `ami access list` says who has")
            for user in users:
                del known[user]

        return self._change(drop, servers)

    def _change(self, change: Any, servers: list[ServerLink]) -> list[str]:
        for _ in range(TRIES):
            before = self._store.get(keys.ACCOUNTS)
            known = self.read(servers)
            change(known)
            try:
                self._store.compare_and_set(keys.ACCOUNTS, ABSENT if before is None else before, known)
            except Conflict:
                continue
            return [f"{server}: {problem}" for server in servers if (problem := _try(server, known))]
        raise AmiError("the list of accounts is changed by others all the time; call again")

    def tell(self, server: ServerLink) -> bool:
        """Let in at a server whom the list says, and nobody else; return whether anything was to be told.

        Where the store has no list, the server's accounts become it.

        Raises:
            StoreError
        """
        known = self._store.get(keys.ACCOUNTS)
        if isinstance(known, dict):
            return _tell(server, known)
        if there := _ask(server):
            self._store.compare_and_set(keys.ACCOUNTS, ABSENT, there)
        return False


def _try(server: ServerLink, known: Mapping[str, str]) -> str:
    try:
        _tell(server, known)
    except StoreError as error:
        return str(error)
    return ""


def _tell(server: ServerLink, known: Mapping[str, str]) -> bool:
    there = _ask(server)
    if there == known:
        return False
    for user in there.keys() - known.keys():
        server.ask("ACL", "DELUSER", user)
    for user, digest in known.items():
        if there.get(user) != digest:
            server.ask(
                "ACL", "SETUSER", user, "reset", "on", f"#{digest}", *roles.rights(user).rules().split()
            )
    server.ask("ACL", "SAVE")
    return True


def _ask(server: ServerLink) -> dict[str, str]:
    try:
        lines = server.ask("ACL", "LIST")
    except Refused as error:
        raise StoreError(f"{server} does not say its users: {error}") from error
    return roles.accounts_in(bytes(line).decode(errors="replace") for line in lines)
