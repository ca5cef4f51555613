"""Values that lie in pieces, put together again."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from ami.errors import Undecodable
from ami.graph.library.scan import MeanVs
from ami.messages.pieces import Keyed, chain
from ami.stores import Store


def laid(pieces: dict[str, Any]) -> Store:
    return cast(Store, pieces)


@pytest.mark.parametrize("seed", range(20))
def test_a_scan_that_lies_by_key_is_the_scan(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 4, random.integers(0, 3)).tolist())
    scan = MeanVs(max_keys=int(random.integers(1, 12)))
    events = int(random.integers(0, 60))
    keys = random.choice([*map(float, range(9)), np.nan], events)
    state = scan.add(scan.zero(), random.normal(size=(events, *shape)), keys) if events else scan.zero()
    whole = scan.result(state)
    pieces = {f"p{n}": scan.result(one) for n, one in enumerate(scan.split(state).values())}
    if not pieces:
        return
    known = {"p0": pieces.pop("p0"), "gone": None}  # read before, and no longer there
    joined: Any = chain(laid(pieces), Keyed(names=("p0", *pieces)), known)
    for name in ("keys", "counts", "means", "errors"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert (joined.overflow, joined.nan) == (whole.overflow, whole.nan)
    assert list(known) == ["p0", *pieces]


def test_a_piece_that_is_gone_or_is_no_scan_is_told() -> None:
    with pytest.raises(KeyError):
        chain(laid({}), Keyed(names=("p0",)), {})
    with pytest.raises(Undecodable, match="p0"):
        chain(laid({"p0": 5}), Keyed(names=("p0",)), {})
