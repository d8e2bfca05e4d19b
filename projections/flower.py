"""Flower: how it is started. May import settings.

It only watches: nothing depends on it. Its password goes through the environment, since anybody on
the machine can read a command line.
"""

from order_service import settings as limits
from order_service.errors import OrderServiceError
from order_service.settings import Settings


def argv(settings: Settings, host: str) -> tuple[str, ...]:
    """What follows `python -m`. Raises OrderServiceError where Flower would be open to anybody."""
    if not settings.FLOWER_PASSWORD:
        raise OrderServiceError(
            "flower-password-missing", "Set FLOWER_PASSWORD: without it anybody could read tasks."
        )
    return (
        *("celery", "--app", "projections.tasks", "flower"),
        *(f"--address={host}", f"--port={settings.FLOWER_PORT}"),
        f"--max_tasks={limits.FLOWER_TASKS_MAX}",
        "--read_only",
    )


def environment(settings: Settings) -> dict[str, str]:
    return {"FLOWER_BASIC_AUTH": f"{settings.FLOWER_USER}:{settings.FLOWER_PASSWORD}"}
