"""Queries that expect hits of the cache give Redis the time that a busy machine needs."""

import pytest

from order_service import limits

PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REDIS_TIMEOUT_S", PATIENCE_S)
