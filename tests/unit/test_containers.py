"""Dockerfile, docker-compose.yml and .env.example agree with the code (no engine runs here)."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter
from pydantic_core import PydanticUndefined

from order_service.settings import Settings
from order_service.stack.__main__ import CLI_WORDS
from order_service.stack.servers import RABBITMQ_RIGHTS, REDIS_RIGHTS
from order_service.stack.venv import IN_CONTAINER, LOCK, MARKER, requirements

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
ROLES = ("web", "migrate", "relay", "consumer", "celery_worker", "flower")
LOGINS = {"DB_WEB_PASSWORD", "DB_PROJECTOR_PASSWORD"}
SECRETS = (
    *("SECRET_KEY", "DB_PASSWORD", *LOGINS),
    *("RABBITMQ_PASSWORD", "FLOWER_PASSWORD", "REDIS_PASSWORD"),
)


def example(*, optional: bool) -> dict[str, str]:
    """The settings of .env.example; with `optional` also those that are commented out."""
    pattern = r"^#?([A-Z_]+)=(.*)$" if optional else r"^([A-Z_]+)=(.*)$"
    return dict(re.findall(pattern, EXAMPLE, re.MULTILINE))


def test_compose_has_the_services_that_users_know() -> None:
    assert set(SERVICES) == {*ROLES, "db", "redis", "rabbitmq"}


@pytest.mark.parametrize("role", ROLES)
def test_every_role_gets_every_setting_and_nothing_unknown(role: str) -> None:
    given = set(SERVICES[role]["environment"])
    if role != "migrate":  # the only role that gets the passwords of the logins
        assert not given & LOGINS
        given |= LOGINS

    assert given == set(Settings.model_fields)


@pytest.mark.parametrize("role", ROLES)
def test_every_command_is_a_word_of_the_entrypoint(role: str) -> None:
    assert SERVICES[role]["command"][0] in CLI_WORDS
    assert SERVICES[role].get("entrypoint") is None  # the image's


def test_defaults_in_compose_are_those_of_the_code() -> None:
    for name, value in SERVICES["web"]["environment"].items():
        default = Settings.model_fields[name].default
        given = re.fullmatch(r"\$\{[A-Z_]+:-(.*)\}", str(value))
        if given is None or name.endswith("_HOST") or default is PydanticUndefined:
            continue
        if isinstance(default, timedelta):
            assert TypeAdapter(timedelta).validate_python(given[1]) == default, name
            continue
        default = "" if default is None else default
        written = ",".join(default) if isinstance(default, tuple) else str(default)
        assert given[1] == (written.lower() if isinstance(default, bool) else written), name


def test_the_compose_file_contains_no_secret() -> None:
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if "PASS" in name or "SECRET" in name or "AUTH" in name:
                assert value is None or re.fullmatch(r"\$\{[A-Z_]+:[?-][^}]*\}", value), name
    for name in SECRETS:
        assert example(optional=True)[name] == ""


def test_compose_and_the_example_have_the_same_variables() -> None:
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))

    assert used == set(example(optional=True))


def test_the_example_keeps_the_settings_of_the_older_service() -> None:
    given = example(optional=False)

    expected = {
        "DB_HOST": "db",
        "DB_PORT": "5432",
        "DB_NAME": "order_db",
        "DB_USER": "order_user",
        "REDIS_HOST": "redis",
        "REDIS_PORT": "6379",
        "RABBITMQ_HOST": "rabbitmq",
        "CACHE_TTL_SECONDS": "300",
        "ALGORITHM": "HS256",
        "ACCESS_TOKEN_EXPIRE_MINUTES": "30",
        "REFRESH_TOKEN_EXPIRE_DAYS": "15",
        "RATE_LIMIT": "100/minute",
        "ALLOWED_ORIGINS_RAW": "http://localhost,http://127.0.0.1",
    }
    assert {name: given.get(name) for name in expected} == expected


def test_the_example_filled_in_is_a_valid_configuration() -> None:
    filled = {
        n: v or "Zq3vT8wLr6YpXs1NcKd5HbJm0GfAe2Ui" for n, v in example(optional=False).items()
    }

    settings = Settings.model_validate(filled)

    assert settings.DB_HOST == "db"


def test_servers_have_volumes_and_health_checks() -> None:
    mounted = [v.partition(":")[0] for s in ("db", "rabbitmq") for v in SERVICES[s]["volumes"]]

    assert set(mounted) == set(COMPOSE["volumes"])
    assert "volumes" not in SERVICES["redis"]  # a cache starts empty
    checked = {name for name, service in SERVICES.items() if "healthcheck" in service}
    assert checked >= {"db", "redis", "rabbitmq", "web", "flower"}


def test_services_restart() -> None:
    restarts = {name: service["restart"] for name, service in SERVICES.items()}

    assert restarts == dict.fromkeys(SERVICES, "unless-stopped") | {"migrate": "on-failure"}


@pytest.mark.parametrize("role", [role for role in ROLES if role != "migrate"])
def test_services_wait_for_servers_and_migrations(role: str) -> None:
    waits = SERVICES[role]["depends_on"]

    assert waits["migrate"]["condition"] == "service_completed_successfully"
    assert {"db", "redis", "rabbitmq"} <= set(waits)


def test_background_services_have_a_smaller_cpu_share_than_those_that_answer() -> None:
    shares = {name: service.get("cpu_shares") for name, service in SERVICES.items()}

    background = dict.fromkeys(("relay", "consumer", "celery_worker", "flower", "rabbitmq"), 16)
    assert shares == dict.fromkeys(("web", "migrate", "db", "redis")) | background


def test_only_the_api_is_published_beyond_loopback() -> None:
    published = {n: s["ports"] for n, s in SERVICES.items() if "ports" in s}

    assert published == {"web": ["${WEB_PORT:-8000}:8000"], "flower": ["127.0.0.1:5555:5555"]}


def test_redis_and_rabbitmq_grant_the_same_rights_as_in_a_private_stack() -> None:
    rights = COMPOSE["configs"]["rabbitmq_rights"]["content"].replace("$$", "$")

    assert rights == RABBITMQ_RIGHTS
    assert SERVICES["rabbitmq"]["configs"][0]["source"] == "rabbitmq_rights"
    assert f"user default on #$$digest {REDIS_RIGHTS}" in SERVICES["redis"]["command"][2]
    assert SERVICES["redis"]["user"] == "redis"


def test_images_are_pinned_by_tag() -> None:
    images = [s["image"] for s in SERVICES.values() if "build" not in s]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)

    assert all(re.search(r":\d", image) for image in images)


def test_every_copied_path_exists_and_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert all((ROOT / source).exists() for source in sources)
    assert sources == let_in


def test_the_image_runs_the_entrypoint_without_root_and_contains_alembic() -> None:
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["/app/entrypoint.sh"]' in DOCKERFILE
    assert (
        "WORKDIR /app\n" in DOCKERFILE
    )  # the folder of pyproject.toml, which has Alembic's settings
    assert "[tool.alembic]" in (ROOT / "pyproject.toml").read_text()
    assert "PATH=/opt/venv/bin:" in DOCKERFILE
    assert f"{IN_CONTAINER}=1" in DOCKERFILE


def test_the_image_installs_the_first_section_of_the_lock_by_hash() -> None:
    cut = re.search(r"sed '/\^(# section: \w+)\$/,\$d'", DOCKERFILE)

    assert cut is not None
    assert LOCK.read_text().partition(f"{cut[1]}\n")[0] == requirements("run")
    assert cut[1] == MARKER.format("servers").strip()
    assert "--require-hashes" in DOCKERFILE
