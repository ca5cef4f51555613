"""A slot that a try had moved, although nobody answered, is moved; it is no fault."""

from __future__ import annotations

from typing import Any, cast

import pytest

from ami.cluster.moving import Mover
from ami.cluster.topology import Server
from ami.config import GlobalStoreConfig
from ami.stores.link import Refused


class Taker:
    """Has some slots already."""

    def __init__(self, *has: int) -> None:
        self._has = has
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, *command: Any) -> Any:
        self.asked.append(command)
        if command[:2] == ("CLUSTER", "SETSLOT") and command[3] == "IMPORTING" and command[2] in self._has:
            raise Refused("ERR", f"ERR I'm already the owner of hash slot {command[2]}")
        if command[:2] == ("CLUSTER", "SETSLOT") and command[2] > 9:
            raise Refused("ERR", "ERR Invalid or out of range slot")
        return []


def server(name: str) -> Server:
    return Server(name, name, 1, frozenset(), "", True, ())


def test_a_slot_that_is_there_already_is_left_as_it_is() -> None:
    giver, taker = Taker(), Taker(3, 5)
    links = {"giver": giver, "taker": taker}
    everyone = [server("giver"), server("taker")]
    mover = Mover(GlobalStoreConfig(), cast(Any, lambda one: links[one.id]), everyone, lambda _: None)
    for slot in range(3, 6):
        mover.move_slot(slot, *everyone)
    assert {command[2] for command in giver.asked} == {4}
    with pytest.raises(Refused, match="out of range"):
        mover.move_slot(10, *everyone)
