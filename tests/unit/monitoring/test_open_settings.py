"""The doctor names the settings by which owners set prices or payments."""

from order_service.settings import Settings
from projections.monitoring.checks.machine import open_settings

REQUIRED = {
    "DB_PASSWORD": "none",
    "RABBITMQ_USER": "none",
    "RABBITMQ_PASSWORD": "none",
    "SECRET_KEY": "Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2Ui",
}


def test_closed_settings_are_not_named() -> None:
    closed = {"CUSTOMER_PRICES": "refuse", "SELF_SERVICE_TRANSITIONS": "CANCELED"}

    assert open_settings(Settings.model_validate(REQUIRED | closed)) == []


def test_open_settings_are_named_and_are_no_fault() -> None:
    opened = {"CUSTOMER_PRICES": "accept", "SELF_SERVICE_TRANSITIONS": "PAID,CANCELED"}

    found = open_settings(Settings.model_validate(REQUIRED | opened))

    assert [(one.check, one.state) for one in found] == [
        ("CUSTOMER_PRICES", "ok"),
        ("SELF_SERVICE_TRANSITIONS", "ok"),
    ]
