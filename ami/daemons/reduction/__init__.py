"""The reducers: flushes into batches on each node, batches into results for all."""
