"""Name every operation that a graph may use; :mod:`ami.graph.library.base` says what one is.

Functions (within each event; or, behind reductions, on results):
    expression, roi, projection, sum, mean, std, min, max (over an event's own axes), where
    (filter), function (user's Python), part (one array out of a structured result)
Reductions (over events):
    count, sum_events, mean_events, std_events, moments, min_events, max_events, histogram,
    histogram2d, mean_vs, last, pick
"""

from __future__ import annotations

from ami.graph.library.base import Function, Reduction

LIBRARY: dict[str, type[Function] | type[Reduction]] = {}

__all__ = ["LIBRARY", "Function", "Reduction"]
