"""Flower: how it is started, and its process.

It only watches: nothing depends on it, and it turns the workers' events on while it runs, so that
they cost nothing without it. Its password goes through the environment, since anybody on the
machine can read a command line.
"""

from order_service import limits
from order_service.errors import OrderServiceError
from order_service.settings import Settings
from order_service.telemetry import logging


def argv(settings: Settings, host: str | None = None) -> tuple[str, ...]:
    """What follows `python -m`; `host`: where it listens, if not at FLOWER_ADDRESS."""
    return (
        *("projections.worker.flower", "--quiet", "--app", "projections.worker.tasks", "flower"),
        *(f"--address={host or settings.FLOWER_ADDRESS}", f"--port={settings.FLOWER_PORT}"),
        f"--max_tasks={limits.FLOWER_TASKS_MAX}",
        "--read_only",
        "--logging=none",  # none of its own
    )


def environment(settings: Settings) -> dict[str, str]:
    """Raises OrderServiceError where Flower would be open to more than its operator."""
    if not settings.FLOWER_PASSWORD:
        raise OrderServiceError(
            "flower-password-missing", "Set FLOWER_PASSWORD: without it anybody could read tasks."
        )
    if "," in settings.FLOWER_USER + settings.FLOWER_PASSWORD or ":" in settings.FLOWER_USER:
        raise OrderServiceError(
            "flower-login-unusable",
            "Leave commas out of FLOWER_USER and FLOWER_PASSWORD, and colons out of the user: "
            "Flower would read several logins, each with a part of the password.",
        )
    return {
        "FLOWER_BASIC_AUTH": f"{settings.FLOWER_USER}:{settings.FLOWER_PASSWORD}",
        "FLOWER_UNAUTHENTICATED_API": "false",  # whatever the environment says
    }


if __name__ == "__main__":
    from celery.__main__ import main

    logging.set_up()
    main()
