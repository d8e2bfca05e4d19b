"""`demo`: a simulated shop that works through the public HTTP API of a running service."""
