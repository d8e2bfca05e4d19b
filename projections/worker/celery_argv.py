"""The command line of Celery's worker."""

from order_service.settings import Settings


def argv(settings: Settings) -> tuple[str, ...]:
    """The arguments after `python -m`. Workers do not synchronize with each other (mingle, gossip).
    They send heartbeats for Flower only, and only while it runs."""
    return (
        *("celery", "--quiet", "--app", "projections.worker.tasks", "worker"),
        *("--concurrency", str(settings.WORKER_PROCESSES)),
        *("--without-mingle", "--without-gossip"),
    )
