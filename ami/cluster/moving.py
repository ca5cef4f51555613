"""Move slots from one server to another, with all that is in them, while others read and write.

Valkey from version 9 on moves stretches of slots whole (CLUSTER MIGRATESLOTS): whoever writes sees one
moment. Others, and that one when it does not get on (under writes it has been seen to begin again for ever),
move key by key, which is exact too and slower: so the tries of the first are bounded. Each step looks first
what is done already; who calls this again after a failure goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from ami.cluster.topology import Move, Server
from ami.config import GlobalStoreConfig
from ami.errors import AmiError, StoreError, StoreUnavailable
from ami.stores.link import Part, Refused, Reply
from ami.stores.server import ServerLink

Say = Callable[[str], None]
Ask = Callable[[Server], ServerLink]

TRIES: Final = 3
STILL_S: Final = 10.0  # without any change, before a try counts as stuck
TRY_S: Final = 120.0
LOOK_S: Final = 0.1
KEYS: Final = 100  # at once, key by key
KEY_MS: Final = 10_000
_DONE, _BAD = ("success",), ("failed", "canceled", "cancelled")
OWNS: Final = "already the owner"  # how a server says that it has a slot that it is to take


class Mover:
    """Moves slots between servers.

    Args:
        ask: gives a connection to a server.
        everyone: the primaries, who are told who has a slot.
    """

    def __init__(self, config: GlobalStoreConfig, ask: Ask, everyone: Iterable[Server], say: Say) -> None:
        self._config = config
        self._ask = ask
        self._everyone = tuple(everyone)
        self._say = say

    def move(self, move: Move, source: Server, target: Server) -> None:
        """Move a stretch of slots.

        Raises:
            StoreError: a server does not answer, or refuses; call it again.
        """
        self._say(f"moving slots {move.first}-{move.last} ({move.slot_count}) from {source} to {target}")
        for number in range(TRIES):
            state = self._move_whole(move, source)
            if state in _DONE:
                return
            if not state:
                break  # this server cannot
            self._say(f"try {number + 1} of {TRIES} to move them whole ended as {state!r}")
        self._say("moving them key by key")
        for slot in range(move.first, move.last + 1):
            self.move_slot(slot, source, target)

    def _move_whole(self, move: Move, source: Server) -> str:
        """Let the servers do it; return the state in which it ended, "" if they do not know how."""
        link = self._ask(source)
        began = int(time.time()) - 1
        try:
            link.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", move.first, move.last, "NODE", move.target)
        except Refused as error:
            if "unknown" in str(error).lower():
                return ""
            return str(error)
        except StoreUnavailable:
            pass  # it may be doing it: a child that it forks takes its time
        ends = time.monotonic() + TRY_S
        last, changed = "", time.monotonic()
        while time.monotonic() < ends and time.monotonic() - changed < STILL_S:
            try:
                told = _newest(link.ask("CLUSTER", "GETSLOTMIGRATIONS"), move, began)
            except StoreUnavailable:
                continue
            state = told.get("state", "")
            if state in _DONE + _BAD:
                return state
            if str(told) != last:
                last, changed = str(told), time.monotonic()
            time.sleep(LOOK_S)
        with suppress(Refused):
            link.ask("CLUSTER", "CANCELSLOTMIGRATIONS")
        return "stuck"

    def move_slot(self, slot: int, source: Server, target: Server) -> None:
        """Move one slot key by key, if it is not there already.

        Raises:
            StoreError
        """
        giver, taker = self._ask(source), self._ask(target)
        try:
            taker.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        except Refused as error:
            if OWNS in str(error):
                return  # a try to move it whole did it, unheard; the giver hears of it from the taker
            raise
        giver.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        while keys := giver.ask("CLUSTER", "GETKEYSINSLOT", slot, KEYS):
            giver.ask("MIGRATE", *target.address, "", 0, KEY_MS, *self._who(), "KEYS", *keys)
        # The taker first: should this end in between, both know who has it.
        told = [target, source, *(one for one in self._everyone if one.id not in (target.id, source.id))]
        for one in told:
            try:
                self._ask(one).ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
            except StoreError:
                if one in (target, source):
                    raise  # others hear it from these

    def _who(self) -> tuple[Part, ...]:
        try:
            password = self._config.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise AmiError(f"global_store.password_file: {error}") from error
        return ("AUTH2", self._config.username, password)


def _newest(reply: Reply, move: Move, since_s: int) -> dict[str, str]:
    """Return what is told of the last try to move this stretch."""
    wanted = f"{move.first}-{move.last}"
    found: dict[str, str] = {}
    for row in reply:
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in row]
        told = dict(zip(words[::2], words[1::2], strict=False))
        ours = told.get("target_node") == move.target and wanted in told.get("slot_ranges", "").split()
        is_new = int(told.get("create_time", 0)) >= since_s
        if ours and is_new and int(told["create_time"]) >= int(found.get("create_time", 0)):
            found = told
    return found
