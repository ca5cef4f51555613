"""The worker: blocks of events through the graph, flushes into the local store."""
