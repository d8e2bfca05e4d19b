"""How the service is: status, progress, lag, history, health, doctor."""
