"""Executes commands: from a command to appended events."""
