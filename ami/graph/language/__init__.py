"""What people write: read it, and lower it to operations."""
