"""Flower: its command line, its environment and its process.

Flower only observes, and nothing depends on it. It turns the workers' events on while it runs, so
they cost nothing without it. Its password is passed in the environment, since every user of the
machine can read a command line.
"""

from order_service import limits
from order_service.errors import OrderServiceError
from order_service.settings import Settings
from order_service.telemetry import logging


def argv(settings: Settings, host: str | None = None) -> tuple[str, ...]:
    """The arguments after `python -m`. `host`: the address to listen at, instead of
    FLOWER_ADDRESS."""
    return (
        *("projections.worker.flower", "--quiet", "--app", "projections.worker.tasks", "flower"),
        *(f"--address={host or settings.FLOWER_ADDRESS}", f"--port={settings.FLOWER_PORT}"),
        f"--max_tasks={limits.FLOWER_TASKS_MAX}",
        "--read_only",
        "--logging=none",  # keeps our logging configuration
    )


def environment(settings: Settings) -> dict[str, str]:
    """Flower's environment. Raises OrderServiceError if the login would not protect it."""
    if not settings.FLOWER_PASSWORD:
        raise OrderServiceError(
            "flower-password-missing",
            "Set FLOWER_PASSWORD: without it Flower shows tasks to everyone.",
        )
    if "," in settings.FLOWER_USER + settings.FLOWER_PASSWORD or ":" in settings.FLOWER_USER:
        raise OrderServiceError(
            "flower-login-unusable",
            "Remove commas from FLOWER_USER and FLOWER_PASSWORD, and colons from FLOWER_USER: "
            "Flower would read them as several logins, each with a part of the password.",
        )
    return {
        "FLOWER_BASIC_AUTH": f"{settings.FLOWER_USER}:{settings.FLOWER_PASSWORD}",
        "FLOWER_UNAUTHENTICATED_API": "false",  # overrides the environment
    }


if __name__ == "__main__":
    from celery.__main__ import main

    logging.set_up()
    main()
