"""The slot of a key, against an independent client's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from ami.stores.client import find_slot

BRACED = st.text(alphabet="{}ab:1é\udc80", max_size=12)


@given(st.one_of(BRACED, st.text(max_size=40)))
def test_a_key_is_in_the_slot_that_others_find(key: str) -> None:
    try:
        data = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return  # a surrogate that stands for no byte: no key
    assert find_slot(key) == key_slot(data)
