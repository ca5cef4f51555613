"""Events that come once, as they come."""
