"""Celery's worker: how it is started."""

from order_service.settings import Settings


def argv(settings: Settings) -> tuple[str, ...]:
    """What follows `python -m`. Workers need not know of each other (mingle, gossip); that they are
    alive is said for Flower's sake, and only while it listens."""
    return (
        *("celery", "--quiet", "--app", "projections.worker.tasks", "worker"),
        *("--concurrency", str(settings.WORKER_PROCESSES)),
        *("--without-mingle", "--without-gossip"),
    )
