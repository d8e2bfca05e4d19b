"""The loop that turns the events after a checkpoint into rows."""
