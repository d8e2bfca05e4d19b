"""The settings of a private stack, and of the commands that run on one.

`SETTINGS` repeats the names that `order_service.settings.Settings` reads, since that class needs
packages that may not be installed yet; a test compares the two.
"""

import os
import shlex
from collections.abc import Mapping
from typing import Any

from order_service.stack.servers import DB_NAME, DB_USER, LOOPBACK, USER, VHOST, free_port, is_free

SETTINGS = (
    *("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "LOG_PARTITIONS"),
    *("DB_WEB_PASSWORD", "DB_PROJECTOR_PASSWORD"),
    *("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB", "CACHE_TTL_SECONDS"),
    *("RABBITMQ_HOST", "RABBITMQ_PORT", "RABBITMQ_USER", "RABBITMQ_PASSWORD", "RABBITMQ_VHOST"),
    *("SECRET_KEY", "ALGORITHM", "ACCESS_TOKEN_EXPIRE_MINUTES", "REFRESH_TOKEN_EXPIRE_DAYS"),
    *(
        "RATE_LIMIT",
        "TRUSTED_PROXIES",
        "ALLOWED_ORIGINS_RAW",
        "CUSTOMER_PRICES",
        "SELF_SERVICE_TRANSITIONS",
        "SHOP_TIME_ZONE",
        "DEFAULT_CURRENCY",
        "REQUIRE_IF_MATCH",
        "ALLOW_SHIP_UNPAID",
        "CUSTOMER_CANCEL_WINDOW",
        "RETURN_WINDOW",
        "PENDING_TTL",
        "DOCS_ENABLED",
    ),
    *(
        "WEB_WORKERS",
        "WORKER_PROCESSES",
        "FLOWER_ADDRESS",
        "FLOWER_PORT",
        "FLOWER_USER",
        "FLOWER_PASSWORD",
        "METRICS_ADDRESS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ),
)
FLOWER_PORT = 5555
ADDRESSES = {
    "DB_HOST": (
        *("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"),
        *("DB_WEB_PASSWORD", "DB_PROJECTOR_PASSWORD"),
    ),
    "REDIS_HOST": ("REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD", "REDIS_DB"),
    "RABBITMQ_HOST": (
        "RABBITMQ_HOST",
        "RABBITMQ_PORT",
        "RABBITMQ_USER",
        "RABBITMQ_PASSWORD",
        "RABBITMQ_VHOST",
    ),
}
LOGIN_PASSWORDS = ("DB_WEB_PASSWORD", "DB_PROJECTOR_PASSWORD")
ALL_TRANSITIONS = "PAID,SHIPPED,DELIVERED,CANCELED"


def servers_to_start(environment: Mapping[str, str]) -> frozenset[str]:
    """The `..._HOST` settings that the environment lacks: the stack starts these servers."""
    return frozenset(host for host in ADDRESSES if not environment.get(host))


def stack_settings(kept: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of all roles: those of the environment, else those of the state folder.

    `kept`: the content of stack.json. The environment's port or password of a server applies only
    if its `..._HOST` is set as well: it belongs to another server, not to the stack's.
    """
    ports, secrets = kept["ports"], kept["secrets"]
    addresses = {
        "DB_HOST": (
            *(LOOPBACK, ports.get("postgres"), DB_NAME, DB_USER, secrets["DB_PASSWORD"]),
            *(secrets["DB_WEB_PASSWORD"], secrets["DB_PROJECTOR_PASSWORD"]),
        ),
        "REDIS_HOST": (LOOPBACK, ports.get("redis"), secrets["REDIS_PASSWORD"], 0),
        "RABBITMQ_HOST": (
            LOOPBACK,
            ports.get("rabbitmq"),
            USER,
            secrets["RABBITMQ_PASSWORD"],
            VHOST,
        ),
    }
    settings = {
        "SECRET_KEY": secrets["SECRET_KEY"],
        # A customer may try every status change, as the tutorial does.
        "CUSTOMER_PRICES": "accept",
        "SELF_SERVICE_TRANSITIONS": ALL_TRANSITIONS,
        "FLOWER_USER": "operator",
        "FLOWER_PASSWORD": secrets["FLOWER_PASSWORD"],
        "FLOWER_PORT": str(FLOWER_PORT),
    }
    settings |= {name: environment[name] for name in SETTINGS if name in environment}
    for host in servers_to_start(environment):
        settings |= dict(zip(ADDRESSES[host], map(str, addresses[host]), strict=True))
    return settings


def role_settings(role: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The settings of one role: `migrate`, which makes the database's logins, gets all of them;
    another role gets only its own login.
    """
    if role == "migrate":
        return dict(settings)
    login = "web" if role == "web" else "projector"
    password = settings.get(f"DB_{login.upper()}_PASSWORD")
    rest = {name: value for name, value in settings.items() if name not in LOGIN_PASSWORDS}
    if not password:  # a given database without logins
        return rest
    name = f"{settings.get('DB_NAME', DB_NAME)}_{login}"
    return rest | {"DB_USER": name, "DB_PASSWORD": password}


def with_free_flower_port(settings: Mapping[str, str]) -> dict[str, str]:
    wanted = int(settings["FLOWER_PORT"])
    return {**settings, "FLOWER_PORT": str(wanted if is_free(wanted) else free_port())}


def process_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The current environment with exactly these settings: others of SETTINGS are removed."""
    rest = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    return {**rest, "PYTHONUNBUFFERED": "1", **settings}


def command_settings(running: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of a command on a running stack: addresses and secrets are the stack's; the
    environment may change the others.
    """
    fixed = {name for names in ADDRESSES.values() for name in names} | {"SECRET_KEY"}
    given = {
        name: environment[name] for name in SETTINGS if name in environment and name not in fixed
    }
    return {**running, **given}


def as_exports(settings: Mapping[str, str]) -> str:
    """Lines for a shell to `eval`: the settings, and the variables that psql and redis-cli read."""
    tools = {
        "PGHOST": settings["DB_HOST"],
        "PGPORT": settings.get("DB_PORT", "5432"),
        "PGUSER": settings.get("DB_USER", DB_USER),
        "PGPASSWORD": settings.get("DB_PASSWORD", ""),
        "PGDATABASE": settings.get("DB_NAME", DB_NAME),
        "REDISCLI_AUTH": settings.get("REDIS_PASSWORD", ""),
    }
    return "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in {**settings, **tools}.items()
    )
