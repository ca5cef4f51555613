"""Live collections against Python's own, by random histories of operations (hypothesis' state machines)."""

from __future__ import annotations

import collections
import copy
import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ami.stores import Store
from ami.stores.codec import equal

numbers = st.integers(-3, 3)
elements = st.one_of(
    numbers, st.text("ab", max_size=2), st.tuples(numbers, numbers), st.lists(numbers, max_size=2)
)
keys = st.one_of(numbers, st.booleans(), st.sampled_from([0.0, 1.5, 2.0]), st.text("ab", max_size=1))
indices = st.integers(-6, 6)
cuts = st.builds(slice, indices | st.none(), indices | st.none(), st.sampled_from([None, 1, 2, -1, -2]))
many = st.lists(elements, max_size=4)
ERRORS = (IndexError, KeyError, ValueError, TypeError)


class Machine(RuleBasedStateMachine):
    """Does the same to a live collection and to Python's, and finds the same answers and contents."""

    store: ClassVar[Store]
    live: Any
    model: Any

    def begin(self, value: Any) -> None:
        self.store["x"] = value
        self.live = self.store["x"]
        self.model = copy.copy(value)

    def both(self, act: Callable[[Any], Any]) -> None:
        """Let ``act`` act on both; answers, or kinds of error, must be equal."""
        try:
            wanted = act(self.model)
        except ERRORS as error:
            with pytest.raises(type(error)):
                act(self.live)
            return
        found = act(self.live)
        if wanted is self.model:
            assert found is self.live, "an in-place operator must give the collection itself"
        else:
            assert type(found) is type(wanted)
            assert equal(found, wanted), f"{found!r} instead of {wanted!r}"

    @invariant()
    def contents_are_equal(self) -> None:
        if hasattr(self, "live"):
            assert self.live == self.model
            assert self.store["x"] == self.model
            assert len(self.live) == len(self.model)
            assert bool(self.live) == bool(self.model)


class Elements(Machine):
    """What lists and deques share."""

    @rule(value=elements)
    def append(self, value: Any) -> None:
        self.both(lambda c: c.append(value))

    @rule(values=many)
    def extend(self, values: Any) -> None:
        self.both(lambda c: c.extend(values))

    @rule(values=many)
    def add_in_place(self, values: Any) -> None:
        self.both(lambda c: c.__iadd__(values))

    @rule(times=st.integers(-1, 2))
    def multiply(self, times: int) -> None:
        if len(self.model) < 12:
            self.both(lambda c: c.__imul__(times))
        self.both(lambda c: c * times)
        self.both(lambda c: times * c)

    @rule(index=indices)
    def get(self, index: int) -> None:
        self.both(lambda c: c[index])

    @rule(index=indices, value=elements)
    def set(self, index: int, value: Any) -> None:
        self.both(lambda c: c.__setitem__(index, value))

    @rule(index=indices)
    def delete(self, index: int) -> None:
        self.both(lambda c: c.__delitem__(index))

    @rule(index=indices, value=elements)
    def insert(self, index: int, value: Any) -> None:
        self.both(lambda c: c.insert(index, value))

    @rule()
    def pop(self) -> None:
        self.both(lambda c: c.pop())

    @rule(value=elements)
    def remove(self, value: Any) -> None:
        self.both(lambda c: c.remove(value))

    @rule(value=elements)
    def look_for(self, value: Any) -> None:
        self.both(lambda c: value in c)
        self.both(lambda c: c.count(value))
        self.both(lambda c: c.index(value))

    @rule(value=elements, start=indices, stop=indices)
    def index_between(self, value: Any, start: int, stop: int) -> None:
        self.both(lambda c: c.index(value, start, stop))

    @rule()
    def reverse(self) -> None:
        self.both(lambda c: c.reverse())

    @rule()
    def clear(self) -> None:
        self.both(lambda c: c.clear())

    @rule()
    def copy(self) -> None:
        self.both(lambda c: c.copy())
        self.both(list)
        self.both(lambda c: list(reversed(c)))


class ListMachine(Elements):
    @initialize(value=many)
    def start(self, value: list[Any]) -> None:
        self.begin(value)

    @rule(index=indices)
    def pop_at(self, index: int) -> None:
        self.both(lambda c: c.pop(index))

    @rule(cut=cuts)
    def slice(self, cut: slice) -> None:
        self.both(lambda c: c[cut])

    @rule(cut=cuts, values=many)
    def set_slice(self, cut: slice, values: Any) -> None:
        self.both(lambda c: c.__setitem__(cut, values))

    @rule(cut=cuts)
    def delete_slice(self, cut: slice) -> None:
        self.both(lambda c: c.__delitem__(cut))

    @rule(reverse=st.booleans())
    def sort(self, reverse: bool) -> None:
        self.both(lambda c: c.sort(key=repr, reverse=reverse))

    @rule()
    def sort_what_may_not_compare(self) -> None:
        before = list(self.model)
        try:
            before.sort()
        except TypeError:
            with pytest.raises(TypeError):
                self.live.sort()
            self.live[:] = self.model  # Python leaves its own list in any order then
            return
        self.both(lambda c: c.sort())

    @rule(values=many)
    def add_and_compare(self, values: Any) -> None:
        self.both(lambda c: c + values)
        self.both(lambda c: values + c)
        for compare in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
            self.both(lambda c, compare=compare: getattr(c, compare)(values))  # type: ignore[misc]  # default
        self.both(lambda c: c == tuple(values))


class DequeMachine(Elements):
    @initialize(value=many, maxlen=st.none() | st.integers(0, 5))
    def start(self, value: list[Any], maxlen: int | None) -> None:
        self.begin(collections.deque(value, maxlen))

    @rule(value=elements)
    def appendleft(self, value: Any) -> None:
        self.both(lambda c: c.appendleft(value))

    @rule(values=many)
    def extendleft(self, values: Any) -> None:
        self.both(lambda c: c.extendleft(values))

    @rule()
    def popleft(self) -> None:
        self.both(lambda c: c.popleft())

    @rule(steps=indices)
    def rotate(self, steps: int) -> None:
        self.both(lambda c: c.rotate(steps))

    @rule(values=many)
    def add_and_compare(self, values: Any) -> None:
        self.both(lambda c: c + collections.deque(values))
        self.both(lambda c: c == collections.deque(values))
        self.both(lambda c: c == values)
        self.both(lambda c: c.maxlen)
        self.both(lambda c: c[0:1])


class DictMachine(Machine):
    """Order is left out: a Redis hash does not keep it."""

    @initialize(value=st.dictionaries(keys, elements, max_size=4))
    def start(self, value: dict[Any, Any]) -> None:
        self.begin(value)

    @rule(key=keys, value=elements)
    def set(self, key: Any, value: Any) -> None:
        self.both(lambda c: c.__setitem__(key, value))

    @rule(key=keys)
    def get(self, key: Any) -> None:
        self.both(lambda c: c[key])
        self.both(lambda c: c.get(key))
        self.both(lambda c: c.get(key, "default"))
        self.both(lambda c: key in c)

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        self.both(lambda c: c.__delitem__(key))

    @rule(key=keys)
    def pop(self, key: Any) -> None:
        self.both(lambda c: c.pop(key))
        self.both(lambda c: c.pop(key, 5))

    @rule()
    def popitem(self) -> None:
        if not self.model:
            with pytest.raises(KeyError):
                self.live.popitem()
            return
        key, value = self.live.popitem()
        assert equal(self.model.pop(key), value)

    @rule(key=keys, value=elements)
    def setdefault(self, key: Any, value: Any) -> None:
        self.both(lambda c: c.setdefault(key, value))
        self.both(lambda c: c.setdefault(key))

    @rule(other=st.dictionaries(keys, elements, max_size=3))
    def join(self, other: dict[Any, Any]) -> None:
        self.both(lambda c: c | other)
        self.both(lambda c: other | c)
        self.both(lambda c: c == other)
        self.both(lambda c: c.update(other))
        self.both(lambda c: c.update(list(other.items()), named=1))
        self.both(lambda c: c.__ior__(other))

    @rule()
    def look(self) -> None:
        self.both(set)
        self.both(lambda c: set(c.keys()))
        self.both(lambda c: dict(c.items()))
        self.both(lambda c: sorted(map(repr, c.values())))
        self.both(lambda c: c.copy())

    @rule()
    def clear(self) -> None:
        self.both(lambda c: c.clear())

    @rule()
    def unhashable_keys_are_refused(self) -> None:
        self.both(lambda c: c.__setitem__([], 1))
        self.both(lambda c: [] in c)


class SetMachine(Machine):
    @initialize(value=st.sets(keys, max_size=4))
    def start(self, value: set[Any]) -> None:
        self.begin(value)

    @rule(member=keys)
    def change(self, member: Any) -> None:
        self.both(lambda c: c.add(member))

    @rule(member=keys)
    def discard(self, member: Any) -> None:
        self.both(lambda c: c.discard(member))

    @rule(member=keys)
    def remove(self, member: Any) -> None:
        self.both(lambda c: c.remove(member))
        self.both(lambda c: member in c)

    @rule()
    def pop(self) -> None:
        if not self.model:
            with pytest.raises(KeyError):
                self.live.pop()
            return
        self.model.remove(self.live.pop())

    @rule(other=st.sets(keys, max_size=4))
    def operators(self, other: set[Any]) -> None:
        for name in ("and", "or", "sub", "xor", "rand", "ror", "rsub", "rxor"):
            self.both(lambda c, name=name: set(getattr(c, f"__{name}__")(other)))  # type: ignore[misc]  # default
        for name in ("lt", "le", "gt", "ge", "eq", "ne"):
            self.both(lambda c, name=name: getattr(c, f"__{name}__")(other))  # type: ignore[misc]  # default
        self.both(lambda c: c.isdisjoint(other))
        self.both(lambda c: c.issubset(list(other)))
        self.both(lambda c: c.issuperset(list(other)))
        for name in ("union", "intersection", "difference"):
            self.both(lambda c, name=name: getattr(c, name)(list(other), [1]))  # type: ignore[misc]  # default
        self.both(lambda c: c.symmetric_difference(list(other)))

    @rule(
        other=st.sets(keys, max_size=4), name=st.sampled_from(["__ior__", "__iand__", "__isub__", "__ixor__"])
    )
    def operators_in_place(self, other: set[Any], name: str) -> None:
        self.both(lambda c: getattr(c, name)(other))

    @rule(
        other=st.lists(keys, max_size=4),
        name=st.sampled_from(
            ["update", "intersection_update", "difference_update", "symmetric_difference_update"]
        ),
    )
    def methods_in_place(self, other: list[Any], name: str) -> None:
        self.both(lambda c: getattr(c, name)(other))

    @rule()
    def clear(self) -> None:
        self.both(lambda c: c.copy())
        self.both(set)
        self.both(lambda c: c.clear())


counters = st.dictionaries(keys, numbers, max_size=4).map(collections.Counter)


class CounterMachine(Machine):
    @initialize(value=counters)
    def start(self, value: collections.Counter[Any]) -> None:
        self.begin(value)

    @rule(key=keys, count=numbers)
    def set(self, key: Any, count: int) -> None:
        self.both(lambda c: c.__setitem__(key, count))

    @rule(key=keys, count=numbers)
    def count_up(self, key: Any, count: int) -> None:
        self.live[key] += count
        self.model[key] += count

    @rule(key=keys)
    def get(self, key: Any) -> None:
        self.both(lambda c: c[key])
        self.both(lambda c: c.get(key))
        self.both(lambda c: key in c)

    @rule(key=keys)
    def delete(self, key: Any) -> None:
        self.both(lambda c: c.__delitem__(key))

    @rule(key=keys)
    def pop(self, key: Any) -> None:
        self.both(lambda c: c.pop(key))
        self.both(lambda c: c.pop(key, 7))
        self.both(lambda c: c.setdefault(key, 2))

    @rule()
    def popitem(self) -> None:
        if not self.model:
            with pytest.raises(KeyError):
                self.live.popitem()
            return
        key, count = self.live.popitem()
        assert self.model.pop(key) == count

    @rule(other=counters | st.lists(keys, max_size=4), name=st.sampled_from(["update", "subtract"]))
    def shift(self, other: Any, name: str) -> None:
        self.both(lambda c: getattr(c, name)(other))
        self.both(lambda c: getattr(c, name)(other, named=2))

    @rule(other=counters)
    def operators(self, other: collections.Counter[Any]) -> None:
        for name in ("add", "sub", "and", "or", "lt", "le", "gt", "ge", "eq", "ne"):
            self.both(lambda c, name=name: getattr(c, f"__{name}__")(other))  # type: ignore[misc]  # default
        self.both(operator.pos)
        self.both(operator.neg)

    @rule(other=counters, name=st.sampled_from(["__iadd__", "__isub__", "__iand__", "__ior__"]))
    def operators_in_place(self, other: collections.Counter[Any], name: str) -> None:
        self.both(lambda c: getattr(c, name)(other))

    @rule()
    def look(self) -> None:
        self.both(lambda c: c.total())
        self.both(lambda c: collections.Counter(c.elements()))
        self.both(lambda c: sorted(count for _, count in c.most_common()))
        self.both(lambda c: len(c.most_common(2)))
        self.both(lambda c: dict(c.items()))
        self.both(lambda c: sorted(c.values()))
        self.both(set)

    @rule()
    def clear(self) -> None:
        self.both(lambda c: c.clear())


# What belongs together lies in one slot, so of three servers on one of them: a look is enough.
EXAMPLES = {"local_store": 60, "global_store": 60, "three_masters_store": 15}
MACHINES = [ListMachine, DequeMachine, DictMachine, SetMachine, CounterMachine]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__.removesuffix("Machine"))
def test_a_live_collection_behaves_like_pythons_own(
    store: Store, machine: type[Machine], request: pytest.FixtureRequest
) -> None:
    bound = type(machine.__name__, (machine,), {"store": store})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]  # hypothesis has no annotation for it
        bound,
        settings=settings(
            max_examples=EXAMPLES[request.node.callspec.params["store"]],
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_elements_can_be_any_values(store: Store) -> None:
    store["x"] = [np.arange(3), {"a": np.ones(2)}]
    live = store["x"]
    live.append(np.zeros((2, 2)))
    assert equal(list(live), [np.arange(3), {"a": np.ones(2)}, np.zeros((2, 2))])
    store["d"] = {"image": np.arange(4)}
    np.testing.assert_array_equal(store["d"]["image"], np.arange(4))


def test_long_collections_are_whole(store: Store) -> None:
    store["l"] = list(range(5000))
    store["s"] = set(range(5000))
    store["d"] = dict.fromkeys(range(5000), 1)
    assert store["l"] == list(range(5000))
    assert store["s"] == set(range(5000))
    assert len(store["d"]) == 5000
    del store["l"][10:4990]
    assert len(store["l"]) == 20
