"""Settings, read by name from the process environment, never from a `.env` file: that belongs to
compose. Bounds that the design fixes are in `limits.py`."""

import re
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from order_service.limits import LOG_PARTITIONS_MAX

_EXAMPLE_SECRETS = re.compile(r"change[-_]?me|(your[-_]?)?secret([-_]?key)?", re.IGNORECASE)
Network = IPv4Network | IPv6Network
Status = Literal["PAID", "SHIPPED", "DELIVERED", "CANCELED"]


def _comma_separated(value: object) -> object:
    return [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value


def check_rate(value: str) -> str:
    """`value`, a rate. Raises ValueError."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", value):
        raise ValueError("expected COUNT/second|minute|hour|day, such as 100/minute")
    return value


def _time_zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("expected an IANA time zone, such as Europe/Berlin or UTC")
    return value


def _duration(value: object) -> object:
    if isinstance(value, str) and not value.startswith("P"):
        raise ValueError("expected an ISO 8601 duration, such as PT24H or P30D")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(0), le=timedelta(days=3_650)),
]


def check_duration(value: str) -> timedelta:
    """The ISO 8601 duration. Raises ValueError."""
    return TypeAdapter(Duration).validate_python(value)


Secret = Annotated[str, Field(repr=False)]  # so that `repr` of the settings shows no secret


class Settings(BaseSettings):
    """Immutable; one instance a process. Field names are the environment's names."""

    model_config = SettingsConfigDict(
        frozen=True, case_sensitive=True, extra="ignore", hide_input_in_errors=True
    )

    DB_HOST: str = "localhost"
    DB_PORT: int = 5432
    DB_NAME: str = "order_db"
    DB_USER: str = "order_user"
    DB_PASSWORD: Secret
    # Passwords of the logins that `migrate` makes (`infra/postgres_logins.py`).
    DB_WEB_PASSWORD: Secret = ""
    DB_PROJECTOR_PASSWORD: Secret = ""
    # Read once, by the first `migrate`.
    LOG_PARTITIONS: int = Field(default=4, ge=1, le=LOG_PARTITIONS_MAX)

    REDIS_HOST: str = "localhost"
    REDIS_PORT: int = 6379
    REDIS_PASSWORD: Secret = ""
    REDIS_DB: int = 0
    CACHE_TTL_SECONDS: int = Field(default=300, ge=1, le=86_400)

    RABBITMQ_HOST: str = "localhost"
    RABBITMQ_PORT: int = 5672
    RABBITMQ_USER: str
    RABBITMQ_PASSWORD: Secret
    RABBITMQ_VHOST: str = "/"

    SECRET_KEY: Secret
    ALGORITHM: Literal["HS256", "HS384", "HS512"] = "HS256"
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(default=30, ge=1, le=1_440)
    REFRESH_TOKEN_EXPIRE_DAYS: int = Field(default=15, ge=1, le=365)

    RATE_LIMIT: Annotated[str, AfterValidator(check_rate)] = "100/minute"
    # Networks of proxies whose Forwarded or X-Forwarded-For counts.
    TRUSTED_PROXIES: Annotated[tuple[Network, ...], NoDecode] = ()
    ALLOWED_ORIGINS_RAW: str = "http://localhost,http://127.0.0.1"
    # Whether customers, too, may set prices, discounts and taxes.
    CUSTOMER_PRICES: Literal["accept", "refuse"] = "refuse"
    SELF_SERVICE_TRANSITIONS: Annotated[tuple[Status, ...], NoDecode] = ("CANCELED",)
    # Of the days and hours in reports; a change asks for a replay of the read models of sales.
    SHOP_TIME_ZONE: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    DEFAULT_CURRENCY: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    REQUIRE_IF_MATCH: bool = False
    ALLOW_SHIP_UNPAID: bool = False
    CUSTOMER_CANCEL_WINDOW: Duration = timedelta(hours=24)  # since the order's creation
    RETURN_WINDOW: Duration = timedelta(days=30)  # since the unit's delivery
    PENDING_TTL: Annotated[Duration | None, BeforeValidator(lambda v: v or None)] = None
    DOCS_ENABLED: bool = True

    WEB_WORKERS: int = Field(default=1, ge=1, le=64)
    WORKER_PROCESSES: int = Field(default=1, ge=1, le=64)
    FLOWER_ADDRESS: str = "127.0.0.1"  # in a container: all its addresses
    FLOWER_PORT: int = 5555
    FLOWER_USER: str = "operator"
    FLOWER_PASSWORD: Secret = ""
    # The first process listens here; each further one on this machine takes the next free port.
    # Empty: no process listens.
    METRICS_ADDRESS: str = Field(default="127.0.0.1:9464", pattern=r"^(\S+:[0-9]{1,5})?$")

    # Where to send traces (OTLP over HTTP), such as http://localhost:4318. Empty: no traces.
    OTEL_EXPORTER_OTLP_ENDPOINT: str = ""

    split_lists = field_validator("SELF_SERVICE_TRANSITIONS", "TRUSTED_PROXIES", mode="before")(
        _comma_separated
    )

    @field_validator("SECRET_KEY")
    @classmethod
    def _strong(cls, value: str) -> str:
        without_examples = _EXAMPLE_SECRETS.sub("", value)
        if len(value.encode()) < 32 or len(without_examples) < 16 or len(set(value)) < 8:
            raise ValueError(
                "missing, too short or an example: set at least 32 random characters, such as from "
                "`python3 -c 'import secrets; print(secrets.token_urlsafe(48))'`"
            )
        return value

    @field_validator("TRUSTED_PROXIES")
    @classmethod
    def _some_networks(cls, value: tuple[Network, ...]) -> tuple[Network, ...]:
        if any(network.prefixlen == 0 for network in value):
            raise ValueError(
                "list the networks of your proxies: if every address were trusted, each client "
                "could choose its own"
            )
        return value

    @field_validator("ALLOWED_ORIGINS_RAW")
    @classmethod
    def _exact_origins(cls, value: str) -> str:
        if "*" in value:
            raise ValueError(
                "list exact origins: `*` would let any site act with a user's credentials"
            )
        return value

    @cached_property
    def allowed_origins(self) -> tuple[str, ...]:
        return tuple(
            o.strip().rstrip("/") for o in self.ALLOWED_ORIGINS_RAW.split(",") if o.strip()
        )
