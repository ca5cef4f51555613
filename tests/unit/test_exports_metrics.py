"""What Prometheus is told, from a snapshot that a test makes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ami.client.load import Load, judge_load
from ami.client.status import Identity, ProcessStatus, RingStatus, judge_cluster
from ami.errors import ConfigError, ExportError
from ami.exports import open_export
from ami.exports.metrics import Seen, families
from ami.sources import open_source


def process(kind: str = "worker", number: int = 0, **more: Any) -> ProcessStatus:
    return ProcessStatus(host="n1", type=kind, number=number, alive=True, state="running", **more)


def look(*processes: ProcessStatus, ring: RingStatus | None = None) -> Load:
    status = judge_cluster(
        "c", processes, this_host="n1", hosts=["n1"], graph={"version": 7, "hash": "x"}, ring=ring
    )
    return judge_load(status, {})


class _Collects:
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def collect(self) -> Any:
        return families(self.seen)


def told(seen: Seen) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a scrape gives, read back by the client library's own parser."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collects(seen))  # type: ignore[arg-type]  # has what is called
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def labels(kind: str = "worker", number: int = 0) -> frozenset[tuple[str, str]]:
    return frozenset({("host", "n1"), ("type", kind), ("number", str(number))})


def test_what_is_only_starting_is_not_up() -> None:
    beats, starts = process(pid=7, age_s=0.1), process(number=1)
    seen = told(Seen().with_load(look(beats, starts), {}))
    assert [seen["ami_process_up", labels(number=number)] for number in (0, 1)] == [1, 0]


def test_the_account_of_the_run_is_the_acting_reducers() -> None:
    counters = {"expected": 100.0, "reduced": 90.0, "dropped": 6.0, "set_aside": 1.0}
    found = told(Seen().with_load(look(process("global-reducer", pid=3, counters=counters)), {}))
    events = {dict(key[1])["state"]: value for key, value in found.items() if key[0] == "ami_run_events"}
    assert events == {"published": 100, "reduced": 90, "dropped": 6, "set_aside": 1}
    assert Identity(published=100, reduced=90, dropped=6, set_aside=1).under_way == 3


def test_a_process_of_another_pid_was_restarted() -> None:
    seen = Seen()
    for pid in (10, 10, 11, 11, 12):
        seen = seen.with_load(look(process(pid=pid)), {})
    assert told(seen)["ami_process_restarts_total", labels()] == 2


def test_a_process_that_is_away_between_two_lives_was_restarted_once() -> None:
    seen = Seen()
    for there in (process(pid=10), None, process(pid=11)):
        seen = seen.with_load(look(*filter(None, [there])), {})
    assert told(seen)["ami_process_restarts_total", labels()] == 1


def test_each_number_of_a_heartbeat_is_told_and_what_ascends_is_a_counter() -> None:
    counters = {"events": 5.0, "busy": 0.5, "rate_hz": 7.0, "lag_s": 0.25, "made_by_a_plugin": 3.0}
    found = told(Seen().with_load(look(process(rate_hz=7.0, counters=counters)), {}))
    assert found["ami_process_events_total", labels()] == 5
    assert found["ami_process_busy", labels()] == 0.5
    assert found["ami_process_made_by_a_plugin", labels()] == 3
    assert found["ami_process_events_per_second", labels()] == 7
    assert found["ami_process_lag_seconds", labels()] == 0.25


def test_all_that_a_stream_counts_is_a_counter() -> None:
    source = open_source("zmq://127.0.0.1:1")
    counters = dict.fromkeys(source.counters, 4.0)
    source.close()
    found = told(Seen().with_load(look(process("source", counters=counters)), {}))
    for name in ("lost", "refused", "late", "set_back", *counters):
        assert found[f"ami_process_{name}_total", labels("source")] == 4


def test_age_is_counted_from_the_notification() -> None:
    found = told(Seen().with_load(look(), {"bright": time.time_ns() - 3 * 10**9}))
    assert found["ami_result_age_seconds", frozenset({("result", "bright")})] == pytest.approx(3, abs=2.9)


def test_a_ring_is_told_as_it_is() -> None:
    ring = RingStatus(
        published=50, dropped=4, slot_count=16, held=9, policy="drop", writer_alive=True, interval_ns=10**7
    )
    found = told(Seen().with_load(look(ring=ring), {}))
    nothing: frozenset[tuple[str, str]] = frozenset()
    assert found["ami_ring_published_total", nothing] == 50
    assert found["ami_ring_dropped_total", nothing] == 4
    assert (found["ami_ring_slots", nothing], found["ami_ring_slots_held", nothing]) == (16, 9)


def test_before_the_first_look_nothing_is_told_of_the_cluster() -> None:
    assert told(Seen()) == {}


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("prometheus://127.0.0.1:x", ("port", "'x'")),
        ("prometheus://127.0.0.1:99999", ("port", "99999")),
        ("prometheus://127.0.0.1:1?resuls=a", ("resuls", "did you mean 'results'")),
        ("no uri", ("export.uris", "no uri")),
    ],
)
def test_a_wrong_uri_says_what_is_wrong(uri: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        open_export(uri)
    assert all(word in str(caught.value) for word in words)


def test_an_export_that_is_not_installed_is_named() -> None:
    with pytest.raises(ExportError, match=r"'pidgeon'.*prometheus.*ami\.exports"):
        open_export("pidgeon://roof")
