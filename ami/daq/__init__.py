"""Deal the events of one source to many nodes, each to one of them, whatever dies. See ``docs/daq.md``."""
