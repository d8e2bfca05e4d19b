"""The Celery app and its tasks, the consumer, and Flower."""
