"""Recordings: files that are played again."""
