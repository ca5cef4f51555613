"""Prometheus scrapes a whole node, and sees what happens to it."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.system.conftest import Experiment, Play
from tests.waiting import wait_until

EVENTS = 5000
GRAPH = "results: {shots: count(laser)}"


class Scraper:
    """Reads what the node's export says, as Prometheus does."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment

    def address(self) -> str:
        """The address that `ami status` shows of the export."""
        for process in self._experiment.client.status().processes:
            if process.type == "export" and process.state.startswith("running: "):
                return process.state.removeprefix("running: ")
        return ""

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sample of this name that has at least these labels; None when there is none."""
        with urllib.request.urlopen(self.address(), timeout=10) as answer:
            text = answer.read().decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None


def test_the_account_of_a_run_and_a_restart_are_there_to_scrape(play: Play) -> None:
    experiment = play(f"sim://pump-probe?rate=1000&stop={EVENTS}", GRAPH)
    scraper = Scraper(experiment)
    wait_until(lambda: scraper.address() != "", what="the address of the export")
    # Only a worker that was seen before its death can be seen to have been restarted.
    wait_until(
        lambda: scraper.value("ami_process_up", type="worker", number="0") == 1,
        what="the worker",
    )
    experiment.kill_workers(1, every=100)
    experiment.run_to_the_end()
    wait_until(lambda: scraper.value("ami_run_events", state="reduced") == EVENTS, what="the account")
    assert scraper.value("ami_run_events", state="published") == EVENTS
    assert scraper.value("ami_run_events", state="dropped") == 0
    assert scraper.value("ami_run_events", state="set_aside") == 0
    wait_until(
        lambda: scraper.value("ami_process_restarts_total", type="worker", number="0") == 1,
        what="the restart of the worker",
    )
    assert scraper.value("ami_process_restarts_total", type="worker", number="1") == 0
    age_s = scraper.value("ami_result_age_seconds", result="shots")
    assert age_s is not None
    assert age_s >= 0
    memory = scraper.value("ami_process_resident_memory_bytes", type="export")
    assert memory is not None
    assert memory > 1 << 20
