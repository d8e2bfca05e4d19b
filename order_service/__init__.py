"""Order Service: orders as events, from one log."""

__version__ = "0.2.0"
