"""The state of the service: status, progress, lag, history, health, doctor."""
