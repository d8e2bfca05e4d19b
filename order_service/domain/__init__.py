"""The rules of an order: pure functions over frozen dataclasses. May import the standard library
and errors."""
