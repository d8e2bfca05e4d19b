"""The command lines of Celery's worker and of Flower. May import settings.

Flower takes its settings from the environment, since every user of the machine can read a command
line. It shows tasks and workers and changes nothing (`read_only`); its page needs the password. It
turns task events on while it runs, so that they cost nothing without it.
"""

from order_service import settings as limits
from order_service.settings import Settings

_CELERY = ("celery", "--app", "projections.tasks", "--quiet")


def worker_argv(settings: Settings) -> list[str]:
    # Workers need not know of each other, and Flower goes by the events of tasks.
    without = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    concurrency = ("--concurrency", str(settings.WORKER_PROCESSES))
    return [*_CELERY, "worker", "--loglevel", "INFO", *concurrency, *without]


def flower_argv() -> list[str]:
    return [*_CELERY, "flower"]


def flower_env(settings: Settings) -> dict[str, str]:
    """What Flower's process needs beside the settings. ValueError without a usable password."""
    if not settings.FLOWER_PASSWORD:
        raise ValueError("FLOWER_PASSWORD is not set: Flower is never started without a password.")
    if "," in settings.FLOWER_USER + settings.FLOWER_PASSWORD or ":" in settings.FLOWER_USER:
        # Flower would read a list of logins, the second of them with half a password.
        raise ValueError("FLOWER_USER and FLOWER_PASSWORD may not hold a comma, the user no colon.")
    return {
        "FLOWER_ADDRESS": settings.FLOWER_ADDRESS,
        "FLOWER_PORT": str(settings.FLOWER_PORT),
        "FLOWER_BASIC_AUTH": f"{settings.FLOWER_USER}:{settings.FLOWER_PASSWORD}",
        "FLOWER_READ_ONLY": "true",
        "FLOWER_MAX_TASKS": str(limits.FLOWER_TASKS_MAX),
        "FLOWER_UNAUTHENTICATED_API": "false",  # its API asks for the password too
    }
