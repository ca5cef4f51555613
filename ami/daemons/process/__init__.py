"""What every daemon is made of: the stage that steps, the runtime that loops, heartbeat and graph watch."""
