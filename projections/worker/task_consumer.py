"""The part of a Celery worker that receives tasks from the queue.

Celery imports it by its name in the configuration (`worker_consumer` in `tasks`).
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.connection import Connection

logger = logging.getLogger(__name__)


class Consumer(CeleryConsumer):  # type: ignore[misc]  # celery ships no types
    """Celery's consumer, with two changes: the prefetch limit applies to a consumer, not to a
    channel (see `tasks`), and no message can end the worker."""

    def connect(self) -> Connection:
        connection: Connection = super().connect()
        connection.transport.qos_semantics_matches_spec = lambda _connection: True
        return connection

    def connection_for_write(
        self, url: str | None = None, heartbeat: int | None = None
    ) -> Connection:
        """The connection that sends events to Flower, without publisher confirms: they would block
        the loop that distributes tasks for a fifth of its time under load."""
        connection = self.app.connection_for_write(url, heartbeat=heartbeat)
        options = {**connection.transport_options, "confirm_publish": False}
        connection.transport_options = options
        connected: Connection = self.ensure_connected(connection)
        return connected

    def create_task_handler(self, *arguments: Any) -> Callable[[Any], None]:
        """Messages that cannot become a task are discarded. Celery's handler would end the worker,
        and then the next one, to which RabbitMQ redelivers the message."""
        handle = super().create_task_handler(*arguments)
        connection_errors = (*self.connection_errors, *self.channel_errors)

        def handle_or_discard(message: Any) -> None:
            try:
                handle(message)
            except connection_errors:
                raise
            except Exception:
                logger.exception("Discarded a message: no task can be made of it.")
                if not message.acknowledged:
                    message.reject_log_error(logger, self.connection_errors)

        return handle_or_discard

    def on_unknown_task(self, _body: object, message: Any, _error: Exception) -> None:
        """The message is discarded. Celery's handler ends the worker if the headers have no id."""
        logger.error("Discarded a message: it is not a task of this app.")
        message.reject_log_error(logger, self.connection_errors)
