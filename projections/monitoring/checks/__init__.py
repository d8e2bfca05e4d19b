"""The checks; each reports what it found and what to do. `registry.py` is the list."""
