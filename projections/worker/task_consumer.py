"""How a worker takes tasks from its queue.

Celery finds it by its name, which stands in the configuration (`tasks`).
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.connection import Connection

logger = logging.getLogger(__name__)


class Consumer(CeleryConsumer):  # type: ignore[misc]  # celery ships no types
    """Celery's own, with a prefetch a consumer instead of a channel (see the module), and which no
    message can end."""

    def connect(self) -> Connection:
        connection: Connection = super().connect()
        connection.transport.qos_semantics_matches_spec = lambda _connection: True
        return connection

    def connection_for_write(
        self, url: str | None = None, heartbeat: int | None = None
    ) -> Connection:
        """For events, which only Flower hears: without confirms, for which the loop that hands out
        tasks would stand still (a fifth of its time under load)."""
        connection = self.app.connection_for_write(url, heartbeat=heartbeat)
        options = {**connection.transport_options, "confirm_publish": False}
        connection.transport_options = options
        connected: Connection = self.ensure_connected(connection)
        return connected

    def create_task_handler(self, *arguments: Any) -> Callable[[Any], None]:
        """What cannot be made a task of is thrown away. Celery's own would end the worker, and the
        next one, to which the message would come again."""
        handle = super().create_task_handler(*arguments)
        of_the_connection = (*self.connection_errors, *self.channel_errors)

        def handle_or_throw_away(message: Any) -> None:
            try:
                handle(message)
            except of_the_connection:
                raise
            except Exception:
                logger.exception("A message of which no task can be made is thrown away.")
                if not message.acknowledged:
                    message.reject_log_error(logger, self.connection_errors)

        return handle_or_throw_away

    def on_unknown_task(self, _body: object, message: Any, _error: Exception) -> None:
        """Thrown away. Celery's own answer wants an id in its headers and ends the worker
        without."""
        logger.error("A message that is no task of this app is thrown away.")
        message.reject_log_error(logger, self.connection_errors)
