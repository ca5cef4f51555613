"""Look at keys of both stores as they lie there, whoever owns them: for people who want to know.

Nothing in ami decides anything by what is found here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ami.client.summary import summary
from ami.config import Config
from ami.errors import AmiError, Undecodable
from ami.messages import know_all
from ami.stores import KeyFacts, Store, keys
from ami.stores.opened import Stores

SHOWN_ELEMENTS = 10  # of a stream, a list, a set
_NOT_READ: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView(KeyFacts):
    """A key of one tier ("local" or "global"). ``ttl_s`` is None when it never expires.

    ``prefix`` is its owner, HOST:TYPE:ID. ``value`` is there (:attr:`has_value`) when it was asked
    for; of what is long it holds some elements. ``problem`` says why it could not be decoded.
    """

    tier: str
    value: Any = _NOT_READ
    problem: str | None = None

    @property
    def has_value(self) -> bool:
        return self.value is not _NOT_READ

    @property
    def name(self) -> str:
        """The key without its owner."""
        return keys.parts(self.key)[1]

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it; of the value, its summary."""
        facts = {name: getattr(self, name) for name in ("tier", "key", "type", "size_bytes", "ttl_s")}
        facts["owner"] = self.prefix
        if self.has_value:
            facts["value"] = summary(self.value)
        if self.problem is not None:
            facts["problem"] = self.problem
        return facts


def find(config: Config, stores: Stores, pattern: str) -> Iterator[KeyView]:
    """Yield the keys of the global tier, and of this host's local one, that fit a glob pattern.

    Raises:
        StoreUnavailable
    """
    for tier, store in _tiers(config, stores).items():
        for facts in store.scan(pattern):
            yield KeyView(**asdict(facts), tier=tier)


def look(config: Config, stores: Stores, key: str) -> list[KeyView]:
    """Return the key ``key`` with its value, of each tier that has it; the braces may be left out.

    Raises:
        AmiError: neither has it.
    """
    know_all()
    found = []
    prefix, name = keys.parts(key)
    spellings = {key, keys.full(prefix, name, tagged=True)} if prefix else {key}
    for tier, store in _tiers(config, stores).items():
        for facts in (facts for spelt in spellings for facts in store.scan(_literally(spelt))):
            view = KeyView(**asdict(facts), tier=tier)
            try:
                found.append(replace(view, value=store.look(facts.key, SHOWN_ELEMENTS)))
            except KeyError:  # expired since the scan
                continue
            except Undecodable as error:
                found.append(replace(view, problem=str(error)))
    if not found:
        raise AmiError(f"there is no key {key!r}; `ami keys` lists them")
    return found


def _literally(key: str) -> str:
    """Return the pattern that fits ``key`` and nothing else."""
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in key)


def _tiers(config: Config, stores: Stores) -> dict[str, Store]:
    """Return a store of each tier that there is: a client may well be on a host without a node."""
    local = {"local": stores.local("worker")} if config.local_store.socket.exists() else {}
    return {**local, "global": stores.cluster("global-reducer")}
