"""The rules of an order: pure functions over frozen dataclasses."""
