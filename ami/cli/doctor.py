"""`ami doctor`: look at this machine and its cluster, and say of what is not right how to mend it."""

from __future__ import annotations

import sys

import click

from ami.cli.group import EXIT_REFUSED
from ami.cli.options import Session, say, with_session
from ami.cli.screen import clean
from ami.cluster import examine_cluster, examine_machine
from ami.cluster.findings import PROBLEM, Finding
from ami.cluster.joining import Machine
from ami.cluster.supervisor import nobody_is_here

PATIENCE_S = 10.0


@click.command()
@with_session
def doctor(session: Session) -> None:
    """Look at this machine and its cluster, and say how to mend what is not right.

    Shared memory, limits, kernel's settings, disk, permissions, secret, ports; the servers' slots, copies,
    clocks and settings. Exit code 1 when there is a problem; a warning is none.
    """
    machine = Machine(session.config_file, say, session.timeout_s or PATIENCE_S)
    found = examine_machine.examine(machine.config)
    runs = not nobody_is_here(machine.config)
    if runs:
        forming = machine.forming()
        found += examine_cluster.examine(machine.config.global_store, forming)
        forming.close()
    found.sort(key=lambda finding: finding.severity != PROBLEM)
    session.answer(
        lambda: {"findings": [finding.to_plain() for finding in found], "node_runs": runs},
        lambda: as_text(found, runs),
    )
    if any(finding.severity == PROBLEM for finding in found):
        sys.exit(EXIT_REFUSED)


def as_text(found: list[Finding], runs: bool) -> str:
    """Return findings for people."""
    lines = [] if runs else ["no node runs here: what needs one was not looked at"]
    for finding in found:
        lines += [
            f"{finding.severity:8} {finding.about}: {clean(finding.seen)}",
            f"         {clean(finding.mend)}",
        ]
    return "\n".join(lines or ["nothing to mend"])
