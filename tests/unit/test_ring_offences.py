"""What operations did to workers stands in the ring: for all of them, and longer than they live."""

from __future__ import annotations

import random

import pytest

from ami.ring import RingObserver, RingReader
from ami.ring.layout import OFFENCE_ROWS
from ami.ring.offences import DEATH, HANG, TOO_MUCH
from tests import ring_rig


@pytest.mark.parametrize("seed", range(5))
def test_whoever_counts_all_know_who_is_switched_off_and_why(seed: int) -> None:
    draw = random.Random(seed)
    names = [f"{number:016x}" for number in range(6)]
    weights: dict[str, int] = dict.fromkeys(names, 0)
    first: dict[str, str] = {}
    with ring_rig.ring_name() as name, ring_rig.create(name):
        readers = [RingReader(name, 0), RingReader(name, 1)]
        for deed in range(20):
            who, weight = draw.choice(names), draw.choice([DEATH, HANG])
            seen = readers[0].offences_seen
            weights[who] += weight
            first.setdefault(who, f"deed {deed} of ä{who}" * 20)
            assert draw.choice(readers).count_offence(who, 1, weight, first[who]) == (
                weights[who] >= TOO_MUCH
            )
            assert (readers[1].offences_seen != seen) == (weights[who] >= TOO_MUCH)
        readers[0].close()  # as if it had died
        readers[0] = RingReader(name, 0)
        off = {who for who, weight in weights.items() if weight >= TOO_MUCH}
        for reader in readers:
            assert reader.list_offenders().keys() == off
            assert all(
                first[who].startswith(how) and len(how) > 200 for who, how in reader.list_offenders().items()
            )
        readers[0].forget_offences(1, ())  # the version in which it was done
        assert readers[1].list_offenders().keys() == off
        kept = {name for name in off if draw.random() < 0.5}
        readers[0].forget_offences(2, kept)
        assert readers[1].list_offenders().keys() == kept
        for reader in readers:
            reader.close()


def test_what_did_harm_elsewhere_is_off_for_all_workers_until_it_is_removed() -> None:
    with ring_rig.ring_name() as name, ring_rig.create(name), RingReader(name, 0) as reader:
        seen = reader.offences_seen
        with RingObserver(name) as eyes:
            eyes.switch_off("0123456789abcdef", 4, "it grew")
        assert reader.offences_seen != seen
        assert not reader.suspects
        for version, there in ((4, ()), (5, ("0123456789abcdef",))):
            reader.forget_offences(version, there)
            assert reader.list_offenders() == {"0123456789abcdef": "it grew"}
        reader.forget_offences(5, ())
        assert reader.list_offenders() == {}


def test_a_table_that_is_full_takes_nothing_more_and_harms_nobody() -> None:
    with ring_rig.ring_name() as name, ring_rig.create(name), RingReader(name, 0) as reader:
        for number in range(OFFENCE_ROWS + 3):
            off = reader.count_offence(f"{number:016x}", 1, TOO_MUCH, "kills")
            assert off == (number < OFFENCE_ROWS)
        assert len(reader.list_offenders()) == OFFENCE_ROWS
