"""The robustness monitor: restart what hangs."""
