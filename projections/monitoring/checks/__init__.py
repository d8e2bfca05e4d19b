"""What is checked: each check says what it found and what to do. `registry.py` is the list."""
