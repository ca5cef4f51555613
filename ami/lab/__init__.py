"""Measure and prove: how fast it is, what survives being killed, whether a node equals one process."""
