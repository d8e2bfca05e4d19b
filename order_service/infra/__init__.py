"""Connections to PostgreSQL, Redis and RabbitMQ, with batching, single flight and heartbeats.
Nothing here depends on orders."""
