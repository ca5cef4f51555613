"""The source: events into the ring, in entries, at their pace."""
