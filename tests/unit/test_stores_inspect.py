"""Who looks at keys while servers come and go sees what there is, and no fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from ami.stores.inspect import scan
from ami.stores.link import Command, Link

SIZE = 8


class Changing:
    """Servers whose number is another one at each question."""

    def __init__(self, counts: list[int], holds: dict[bytes, int]) -> None:
        self._counts, self._holds = counts, holds

    def everywhere(self, commands: Callable[[int], Sequence[Command]]) -> list[list[Any]]:
        count = self._counts.pop() if len(self._counts) > 1 else self._counts[0]
        return [[self._reply(node % count, one) for one in commands(node)] for node in range(count)]

    def _reply(self, node: int, command: Command) -> Any:
        if command[0] == "SCAN":
            return [b"0", [key for key, at in self._holds.items() if at == node]]
        if self._holds[cast(bytes, command[-1])] != node:
            return None
        return {"TYPE": b"string", "PTTL": -1, "MEMORY": SIZE}[str(command[0])]


@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=5),
    places=st.lists(st.integers(0, 3), max_size=6),
)
def test_keys_are_listed_while_servers_come_and_go(counts: list[int], places: list[int]) -> None:
    holds = {f"{{a:b:{n}}}:x".encode(): place for n, place in enumerate(places)}
    steady = len(set(counts)) == 1
    found = list(scan(cast(Link, Changing(list(counts), holds)), "*"))
    assert {one.key.encode() for one in found} <= holds.keys()
    assert {one.size_bytes for one in found} <= {SIZE}
    if steady:
        assert len(found) == sum(place < counts[0] for place in places)
