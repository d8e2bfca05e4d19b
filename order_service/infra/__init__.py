"""Connections to PostgreSQL, Redis and RabbitMQ, and what batches and watches them;
nothing of orders."""
