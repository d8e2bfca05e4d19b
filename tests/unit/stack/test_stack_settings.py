"""The settings that the stack passes to its roles, and their names."""

from order_service import limits
from order_service.infra import rabbitmq
from order_service.infra.postgres import PROJECTOR, WEB
from order_service.infra.postgres_logins import login_of
from order_service.settings import Settings
from order_service.stack import up
from order_service.stack.commands import WEB_URL, take_state
from order_service.stack.settings import (
    SETTINGS,
    as_exports,
    command_settings,
    role_settings,
    servers_to_start,
    stack_settings,
)

KEPT = {
    "ports": {"postgres": 20001, "redis": 20002, "rabbitmq": 20003},
    "secrets": {
        "DB_PASSWORD": "db",
        "DB_WEB_PASSWORD": "web",
        "DB_PROJECTOR_PASSWORD": "projector",
        "REDIS_PASSWORD": "redis",
        "RABBITMQ_PASSWORD": "rabbit",
        "SECRET_KEY": "kept",
        "FLOWER_PASSWORD": "flower",
    },
}


def test_the_stack_has_every_setting_by_name() -> None:
    assert set(SETTINGS) == set(Settings.model_fields)
    assert WEB_URL == limits.WEB_URL


def test_the_stack_waits_for_the_queues_that_the_broker_names() -> None:
    assert set(up.CONSUMED_QUEUES) == {rabbitmq.HINT_QUEUE, rabbitmq.TASK_QUEUE}


def test_without_a_host_the_stack_starts_its_own_server_whatever_port_is_set() -> None:
    settings = stack_settings(KEPT, {"DB_PORT": "5432", "DB_PASSWORD": "theirs"})

    assert (settings["DB_HOST"], settings["DB_PORT"]) == ("127.0.0.1", "20001")
    assert settings["DB_PASSWORD"] == "db"


def test_a_server_in_the_environment_is_used_with_its_own_settings() -> None:
    given = {"REDIS_HOST": "cache", "REDIS_PORT": "6380"}

    settings = stack_settings(KEPT, given)

    assert servers_to_start(given) == {"DB_HOST", "RABBITMQ_HOST"}
    assert (settings["REDIS_HOST"], settings["REDIS_PORT"]) == ("cache", "6380")
    assert "REDIS_PASSWORD" not in settings


def test_other_settings_are_taken_from_the_environment() -> None:
    settings = stack_settings(KEPT, {"RATE_LIMIT": "5/minute", "SECRET_KEY": "given"})

    assert settings["RATE_LIMIT"] == "5/minute"
    assert settings["SECRET_KEY"] == "given"
    assert settings["SELF_SERVICE_TRANSITIONS"] == "PAID,SHIPPED,DELIVERED,CANCELED"


def test_each_role_gets_only_its_own_database_login() -> None:
    settings = stack_settings(KEPT, {})

    by_role = {
        role: role_settings(role, settings) for role in ("web", "relay", "flower", "migrate")
    }

    assert {role: (t["DB_USER"], t["DB_PASSWORD"]) for role, t in by_role.items()} == {
        "web": (login_of(WEB, "order_db"), "web"),
        "relay": (login_of(PROJECTOR, "order_db"), "projector"),
        "flower": (login_of(PROJECTOR, "order_db"), "projector"),
        "migrate": ("order_user", "db"),
    }
    assert [
        r for r, t in by_role.items() if {"DB_WEB_PASSWORD", "DB_PROJECTOR_PASSWORD"} & {*t}
    ] == ["migrate"]


def test_a_given_database_without_logins_is_used_with_the_given_user() -> None:
    given = {"DB_HOST": "db", "DB_USER": "owner", "DB_PASSWORD": "theirs"}

    passed = role_settings("web", stack_settings(KEPT, given))

    assert (passed["DB_USER"], passed["DB_PASSWORD"]) == ("owner", "theirs")


def test_a_command_uses_the_running_stack_and_may_change_other_settings() -> None:
    running = {"DB_HOST": "127.0.0.1", "SECRET_KEY": "kept", "WORKER_PROCESSES": "2"}
    given = {"DB_HOST": "elsewhere", "SECRET_KEY": "other", "WORKER_PROCESSES": "4"}

    settings = command_settings(running, given)

    assert settings == {"DB_HOST": "127.0.0.1", "SECRET_KEY": "kept", "WORKER_PROCESSES": "4"}


def test_exports_are_quoted_for_the_shell() -> None:
    assert "export DB_PASSWORD='a b'\"'\"'c'" in as_exports(
        {"DB_HOST": "h", "DB_PASSWORD": "a b'c"}
    )


def test_the_option_state_may_be_anywhere_among_the_arguments() -> None:
    assert take_state(["--all", "--state", "x", "name"]) == ("x", ["--all", "name"])
    assert take_state(["--state=x"]) == ("x", [])
    assert take_state(["--all"]) == (None, ["--all"])
