"""Kill a node's processes under full load, and count every event afterwards.

A node of our own is loaded with events whose every result is known by a formula. At random moments
one process, two, or all of them are killed with -9. How long results stay away is measured; what is
in them afterwards must be exact to the last event.
"""

from ami.lab.chaos.campaign import Outcome, run
from ami.lab.chaos.report import Row, rows
from ami.lab.chaos.schedule import NODE, TWO, Strike, schedule, targets

__all__ = ["NODE", "TWO", "Outcome", "Row", "Strike", "rows", "run", "schedule", "targets"]
