"""Run a graph: blocks of events on workers, windows and results at the reducers."""
