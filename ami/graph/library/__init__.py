"""Name every operation that a graph may use; :mod:`ami.graph.library.base` says what one is.

Functions (within each event; or, behind reductions, on results):
    expression, roi, projection, sum, mean, std, min, max (over an event's own axes), where
    (filter), function (user's Python), part (one array out of a structured result)
Reductions (over events):
    count, sum_events, mean_events, std_events, moments, min_events, max_events, histogram,
    histogram2d, mean_vs, last, pick
"""

from __future__ import annotations

from ami.graph.library.accumulate import (
    Count,
    MaxEvents,
    MeanEvents,
    MinEvents,
    MomentsEvents,
    StdEvents,
    SumEvents,
)
from ami.graph.library.axes import Max, Mean, Min, Projection, Roi, Std, Sum
from ami.graph.library.base import Function, Reduction
from ami.graph.library.expressions import Expression
from ami.graph.library.histograms import Histogram, Histogram2D
from ami.graph.library.keep import Last, Pick
from ami.graph.library.scan import MeanVs
from ami.graph.library.select import Part, Where
from ami.graph.library.user import UserFunction

LIBRARY: dict[str, type[Function] | type[Reduction]] = {
    "count": Count,
    "expression": Expression,
    "function": UserFunction,
    "histogram": Histogram,
    "histogram2d": Histogram2D,
    "last": Last,
    "max": Max,
    "max_events": MaxEvents,
    "mean": Mean,
    "mean_events": MeanEvents,
    "mean_vs": MeanVs,
    "min": Min,
    "min_events": MinEvents,
    "moments": MomentsEvents,
    "part": Part,
    "pick": Pick,
    "projection": Projection,
    "roi": Roi,
    "std": Std,
    "std_events": StdEvents,
    "sum": Sum,
    "sum_events": SumEvents,
    "where": Where,
}

__all__ = ["LIBRARY", "Function", "Reduction"]
