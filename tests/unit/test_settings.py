"""Unsafe or invalid settings stop the start; the error names the setting but not its value."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from pydantic import ValidationError

from order_service.main import create_app
from order_service.settings import Settings

SECRETS = ("DB_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD", "SECRET_KEY", "FLOWER_PASSWORD")
GOOD: dict[str, Any] = {
    "DB_PASSWORD": "x",
    "RABBITMQ_USER": "x",
    "RABBITMQ_PASSWORD": "x",
    "SECRET_KEY": "Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2Ui",
}


def settings(**changed: Any) -> Settings:
    return Settings(**{**GOOD, **changed})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SECRET_KEY", "", "at least 32 random characters"),
        ("SECRET_KEY", "short", "secrets.token_urlsafe"),
        ("SECRET_KEY", "Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2U", "at least 32 random characters"),
        ("SECRET_KEY", "change-me" * 8, "an example"),
        ("SECRET_KEY", "Your-Secret-Key-Your-Secret-Key-Here", "an example"),
        ("SECRET_KEY", "a" * 64, "at least 32 random characters"),
        ("ALLOWED_ORIGINS_RAW", "*", "exact origins"),
        ("ALLOWED_ORIGINS_RAW", "https://shop.example,https://*.example", "exact origins"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0", "networks of your proxies"),
        ("TRUSTED_PROXIES", "::/0", "networks of your proxies"),
        ("RATE_LIMIT", "", "100/minute"),
        ("RATE_LIMIT", "0/minute", "100/minute"),
        ("RATE_LIMIT", "-1/minute", "100/minute"),
        ("RATE_LIMIT", "100", "100/minute"),
        ("RATE_LIMIT", "100 per minute", "100/minute"),
        ("RATE_LIMIT", "100/fortnight", "100/minute"),
        ("RATE_LIMIT", "100/minute;5/second", "100/minute"),
        ("ALGORITHM", "none", "'HS256'"),
        ("ALGORITHM", "RS256", "'HS256'"),
        ("SELF_SERVICE_TRANSITIONS", "PAID,RETURNED", "'CANCELED'"),
        ("DEFAULT_CURRENCY", "usd", "[A-Z]{3}"),
        ("CUSTOMER_CANCEL_WINDOW", "24", "ISO 8601 duration"),
        ("RETURN_WINDOW", "-P1D", "ISO 8601 duration"),
        ("PENDING_TTL", "P1X", "valid timedelta"),
        ("CACHE_TTL_SECONDS", "0", "greater than or equal to 1"),
        ("LOG_PARTITIONS", "65", "less than or equal to 64"),
        ("WEB_WORKERS", "many", "integer"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(name: str, value: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**{name: value})

    (error,) = caught.value.errors()
    assert error["loc"][0] == name
    assert message in error["msg"]
    assert "input_value" not in str(caught.value)  # it may be a secret with a typing error


@pytest.mark.parametrize("name", sorted(GOOD))
def test_secrets_have_no_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name, raising=False)

    with pytest.raises(ValidationError, match=name):
        Settings(**{key: value for key, value in GOOD.items() if key != name})


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELF_SERVICE_TRANSITIONS", "PAID, SHIPPED,")

    found = settings(ALLOWED_ORIGINS_RAW=" https://shop.example/ ,, http://localhost:3000")

    assert found.SELF_SERVICE_TRANSITIONS == ("PAID", "SHIPPED")
    assert found.allowed_origins == ("https://shop.example", "http://localhost:3000")


def test_proxies_are_networks_or_single_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8,192.0.2.7,")

    assert (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
        ip_network("192.0.2.7/32"),
    ) == settings().TRUSTED_PROXIES


def test_by_default_an_owner_may_only_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SELF_SERVICE_TRANSITIONS", raising=False)

    assert settings().SELF_SERVICE_TRANSITIONS == ("CANCELED",)


@pytest.mark.parametrize("currency", ["XXX", "ANG", "BGN"])
def test_the_default_currency_takes_new_orders(currency: str) -> None:
    with pytest.raises(ValueError, match="DEFAULT_CURRENCY"):
        create_app(settings(DEFAULT_CURRENCY=currency))


def test_durations_are_those_of_iso_8601() -> None:
    found = settings(CUSTOMER_CANCEL_WINDOW="PT90M", PENDING_TTL="P3D")

    windows = (found.CUSTOMER_CANCEL_WINDOW, found.PENDING_TTL)
    assert windows == (timedelta(minutes=90), timedelta(days=3))
    assert (
        settings(PENDING_TTL="").PENDING_TTL is None
    )  # as compose passes a setting that is not set


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        settings().DB_PASSWORD = "y"  # type: ignore[misc]


def test_no_secret_is_in_the_text_of_the_settings() -> None:
    secrets = {name: f"{name}-Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2Ui" for name in SECRETS}

    shown = repr(Settings.model_validate({"RABBITMQ_USER": "order", **secrets}))

    assert not any(secret in shown for secret in secrets.values())
