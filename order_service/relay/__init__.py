"""The log to RabbitMQ."""
