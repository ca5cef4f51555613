"""Make a class a message, and see that what was read is the one that was meant."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, NoReturn, TypeVar, dataclass_transform, get_args, get_origin, get_type_hints

from ami.errors import ConfigError, Undecodable
from ami.stores import Store, codec

T = TypeVar("T")

_TYPES: dict[type, dict[str, tuple[type, ...]]] = {}  # of the fields of classes that were checked once


@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(cls: type[T]) -> type[T]:
    """Make ``cls`` a frozen dataclass that may be stored and whose fields are of the types that it names.

    What is in a dictionary or a tuple is not looked at. ``FORMAT`` changes with what a field means.
    """
    cls.__post_init__ = _check  # type: ignore[attr-defined]
    return codec.register(dataclass(frozen=True, slots=True, kw_only=True)(cls))


def _check(self: Any) -> None:
    # Also of what is no message, and has no check of its own: a partial.
    for name, types in _types(type(self)).items():
        value = getattr(self, name)
        if not isinstance(value, types):
            wanted = " or ".join(one.__name__ for one in types)
            raise TypeError(f"{type(self).__name__}.{name} must be {wanted}, got {value!r:.100}")
        if is_dataclass(value):
            _check(value)


def _types(cls: type) -> dict[str, tuple[type, ...]]:
    """Return what may be in each field."""
    if cls not in _TYPES:
        hints = get_type_hints(cls)
        _TYPES[cls] = {field.name: _classes(hints[field.name]) for field in fields(cls)}
    return _TYPES[cls]


def _classes(hint: Any) -> tuple[type, ...]:
    if isinstance(hint, UnionType):
        return tuple(one for part in get_args(hint) for one in _classes(part))
    if hint is Any:
        return (object,)
    if hint is None:
        return (NoneType,)
    return (get_origin(hint) or hint, *([int] if hint is float else []))


def expect(cls: type[T], value: object) -> T:
    """Return ``value``, which was read from a store, if it is a ``cls``.

    Raises:
        Undecodable: it is something else.
    """
    if not isinstance(value, cls):
        raise Undecodable(f"there is a {type(value).__name__} where a {cls.__name__} should be")
    return value


def read(store: Store, name: str, cls: type[T]) -> T | None:
    """Return what a process left for its successor, None if it left nothing.

    Raises:
        ConfigError: it is of another version of ami.
    """
    try:
        value = store.get(name)
        return None if value is None else expect(cls, value)
    except Undecodable as error:
        refuse_version(store, name, error)


def refuse_version(store: Store, name: str, error: Exception) -> NoReturn:
    """Say what is to be done about a value that cannot be read.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"{store.prefix}:{name} cannot be read: {error}. Another version of ami wrote it: let that one run "
        f"until all is reduced, and stop it; or delete the key, and lose what it accounts for"
    ) from error
