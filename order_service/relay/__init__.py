"""Publishes the log to RabbitMQ."""
