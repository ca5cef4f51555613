"""Measure and prove: how fast it is, what survives being killed, whether a node equals one process.

``bench`` has the table of figures, ``chaos`` the campaign, ``verify`` the comparison; ``arena`` is the
private node that all three work on. The measurements are in files by theme.
"""
