"""Keep named arrangements of tiles in the global store, where any page finds them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ami.errors import AmiError
from ami.stores import Store, keys

NAME: Final = re.compile(r"[\w][\w .-]{0,63}")
MOST_BYTES: Final = 1 << 16
MOST_LAYOUTS: Final = 200


class Layouts:
    """The layouts in a store: a live dictionary, so that two who keep one at once lose nobody's.

    Raises:
        AmiError: of each method: there is none, or it cannot be kept.
    """

    def __init__(self, store: Store) -> None:
        self._texts = store.dict(keys.LAYOUTS)

    def list_names(self) -> list[str]:
        return sorted(self._texts)

    def read(self, name: str) -> Any:
        try:
            return json.loads(self._texts[name])
        except KeyError:
            raise _absent(name) from None

    def keep(self, name: str, layout: dict[str, Any]) -> None:
        text = json.dumps(layout)
        if not NAME.fullmatch(name):
            raise AmiError(
                "the name of a layout has up to 64 letters, digits, spaces, dots, dashes, underscores"
            )
        if len(text) > MOST_BYTES:
            raise AmiError(f"a layout has at most {MOST_BYTES} bytes, this one {len(text)}")
        if name not in self._texts and len(self._texts) >= MOST_LAYOUTS:
            raise AmiError(f"{MOST_LAYOUTS} layouts are kept already: remove one")
        self._texts[name] = text

    def remove(self, name: str) -> None:
        try:
            del self._texts[name]
        except KeyError:
            raise _absent(name) from None


def _absent(name: str) -> AmiError:
    return AmiError(f"there is no layout {name!r}")
