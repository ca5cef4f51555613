"""Say how people's other languages are said here: Python's, numpy's, a spreadsheet's."""

from __future__ import annotations

from collections.abc import Mapping

_CHOICE = "which value is where(condition, a, b), which events is 'value where condition'"
_CODE = "a definition is no Python; code of your own goes under functions"

# What was written where it means nothing -> what says it here.
SIGNS: Mapping[str, str] = {
    "[": "a region is roi(image, rows=1:3, cols=0:9), of a waveform roi(waveform, samples=1:3)",
    "=": "'==' compares; a name stands before the colon of a line under values or results; "
    "'NAME = DEFINITION' is for `ami graph add`",
    "if": _CHOICE, "else": _CHOICE, "?": _CHOICE,
    "is": "'==' compares", "in": "'a <= x < b' is a range, and '|' no list: x == 1 or x == 4",
    "&&": "both is 'and'", "||": "one of both is 'or'", "&": "both is 'and'", "|": "one of both is 'or'",
    "!": "'not' turns a condition round, '!=' is unequal",
    "for": "there are no loops: an operation goes over all elements, a reduction over all events",
    "while": "there are no loops: an operation goes over all elements, a reduction over all events",
    "lambda": _CODE, "def": _CODE, "import": _CODE, "return": _CODE, "from": _CODE,
    "#": "a comment stands behind the definition's quotes, or on a line of its own",
    ";": "a definition is one expression; give each a name of its own",
    ":": "a slice has up to three ends, as in roi(x, rows=1:9:2)",
}  # fmt: skip

# Operations of other libraries -> what does that here.
OPERATIONS: Mapping[str, str] = {
    "average": "within an event it is mean(x), over events mean_events(x)",
    "median": "within an event a function of yours has it (numpy.median, under functions); over events "
    "histogram(x, bins, low, high) shows it",
    "scatter": "pick(x, y, count=500) has pairs of single events, histogram2d(x, ...) all, "
    "mean_vs(y, key=x) the mean",
    "plot": "every result is drawn where it is looked at; last(x) is the newest",
    "hist": "histogram(x, bins, low, high)",
    "hist2d": "histogram2d(x, y, x_bins, x_low, x_high, y_bins, y_low, y_high)",
    "variance": "within an event std(x) ** 2, over events moments(x)",
    "crop": "roi(image, rows=1:3, cols=0:9)",
    "lineout": "line(image, start=[1, 2], end=[30, 40], width=3)",
    "integrate1d": "radial(image, center=[64, 64], radii=10:40)",
    "len": "length(x)",
    "first": "the newest event is last(x), single events are pick(x, count=5)",
    "filter": "events are chosen by 'x where condition', elements by select(x, condition)",
    "rolling": 'the window of a reduction: mean_events(x, window="10 s") or "last 20"',
    "profile": "mean_vs(y, key=x)",
    "groupby": "mean_vs(y, key=x)",
    "product": "a * b",
    "norm": "sqrt(sum(x * x))",
    "dot": "sum(a * b)",
    "any": "max(x) > 0",
    "all": "min(x) > 0",
    "int": "trunc(x)",
    "float": "1.0 * x",
}  # fmt: skip
OTHERS: Mapping[str, str] = {
    "avg": "average", "nanmedian": "median", "percentile": "median", "quantile": "median", "var": "variance",
    "scatterplot": "scatter", "correlate": "scatter", "correlation": "scatter", "cut": "crop",
    "slice": "crop", "region": "crop", "size": "len", "moving_average": "rolling", "running_mean": "rolling",
    "binned_mean": "profile", "group_by": "groupby", "prod": "product", "head": "first", "show": "plot",
    "histo": "hist", "profile_line": "lineout", "linecut": "lineout", "azimuthal_average": "integrate1d",
    "radial_profile": "integrate1d", "ring": "integrate1d", "arc": "integrate1d", "annulus": "integrate1d",
}  # fmt: skip


def explain_operation(name: str) -> str:
    """Return what here does what an operation of that name does elsewhere, or nothing."""
    name = name.lower()
    return OPERATIONS.get(OTHERS.get(name, name), "")
