"""Events after a checkpoint become rows."""
