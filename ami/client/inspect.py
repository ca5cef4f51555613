"""Look at keys of both stores as they lie there, whoever owns them: for people who want to know.

Nothing in ami decides anything by what is found here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from ami.client.summary import summary
from ami.config import Config
from ami.errors import AmiError, Undecodable
from ami.messages import know_all
from ami.stores import KeyFacts, Store, open_local

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
        return self.key.removeprefix(f"{{{self.prefix}}}:").removeprefix(f"{self.prefix}:")

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can say of it; of the value, its summary."""
        facts = {name: getattr(self, name) for name in ("tier", "key", "type", "size_bytes", "ttl_s")}
        facts["owner"] = self.prefix
        if self.has_value:
            facts["value"] = summary(self.value)
        if self.problem is not None:
            facts["problem"] = self.problem
        return facts


def find(config: Config, store: Store, pattern: str) -> Iterator[KeyView]:
    """Yield the keys of the global tier, and of this host's local one, that fit a glob pattern.

    Raises:
        StoreUnavailable
    """
    with _tiers(config, store) as tiers:
        for tier, opened in tiers.items():
            for facts in opened.scan(pattern):
                yield KeyView(**asdict(facts), tier=tier)


def look(config: Config, store: Store, key: str) -> list[KeyView]:
    """Return the key ``key`` with its value, of each tier that has it; the braces may be left out.

    Raises:
        AmiError: neither has it.
    """
    know_all()
    found = []
    with _tiers(config, store) as tiers:
        for tier, opened in tiers.items():
            for spelt in _spellings(key):
                for facts in opened.scan(_literally(spelt)):
                    view = KeyView(**asdict(facts), tier=tier)
                    try:
                        found.append(replace(view, value=opened.look(facts.key, SHOWN_ELEMENTS)))
                    except KeyError:  # expired since the scan
                        continue
                    except Undecodable as error:
                        found.append(replace(view, problem=str(error)))
    if not found:
        raise AmiError(f"there is no key {key!r}; `ami keys` lists them")
    return found


def _spellings(key: str) -> set[str]:
    """Return the key as it is and, when it is HOST:TYPE:ID:NAME, with the braces of the global tier."""
    parts = key.split(":", 3)
    braced = {f"{{{':'.join(parts[:3])}}}:{parts[3]}"} if len(parts) == 4 and "{" not in key else set()
    return {key} | braced


def _literally(key: str) -> str:
    """Return the pattern that fits ``key`` and nothing else."""
    return "".join(f"\\{c}" if c in "*?[]^\\" else c for c in key)


@contextmanager
def _tiers(config: Config, store: Store) -> Iterator[dict[str, Store]]:
    """Open the local tier too, where there is one: a client may well be on a host without a node."""
    if not config.local_store.socket.exists():
        yield {"global": store}
        return
    with closing(open_local(config.local_store, store.prefix)) as local:
        yield {"local": local, "global": store}
