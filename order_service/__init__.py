"""Order Service: orders as events, from one log."""
