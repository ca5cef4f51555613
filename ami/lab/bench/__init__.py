"""Measure how fast ami is on this machine, each figure beside a limit that is measured in the same run.

``rows`` is the table of figures and goals; ``measures`` says which module measures which of them. A figure
that could not be measured has no value and says why; nothing is ever filled in.
"""
