"""Read models are rebuilt, compared and swapped; verified against the log."""
