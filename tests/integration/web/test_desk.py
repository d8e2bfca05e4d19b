"""The desk's files: who may have them, with what headers, and nothing else."""

import re
from importlib.resources import files

import httpx
import pytest
from redis.asyncio import Redis

from order_service.limits import DESK_FILES_MAX
from order_service.main import create_app
from order_service.settings import Settings
from order_service.web import response_headers
from tests.conftest import serving


def carried() -> list[str]:
    """Every file of the package's static folder, by its path."""
    folder = str(files("order_service.desk") / "static")
    return sorted(
        str(path).removeprefix(f"{folder}/")
        for path in (files("order_service.desk") / "static").rglob("*")  # type: ignore[attr-defined]
        if path.is_file()
    )


async def test_every_file_is_served_with_a_strict_policy(web: httpx.AsyncClient) -> None:
    assert {"index.html", "app.js", "vendor/preact-htm.js"} < set(carried())
    assert len(carried()) <= DESK_FILES_MAX, "one load of the page must fit the limit"
    answers = {name: await web.get(f"/desk/{name}") for name in carried()}

    names = ("content-security-policy", "x-content-type-options", "cache-control")
    found = {
        file: (answer.status_code, *(answer.headers[name] for name in names))
        for file, answer in answers.items()
    }
    policy = response_headers.DESK_CONTENT_SECURITY_POLICY.decode()
    assert found == dict.fromkeys(answers, (200, policy, "nosniff", "no-cache"))


async def test_the_policy_allows_nothing_inline_and_nobody_else(web: httpx.AsyncClient) -> None:
    policy = (await web.get("/desk")).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in policy
    assert "*" not in policy


async def test_the_page_is_at_desk_with_and_without_slash(web: httpx.AsyncClient) -> None:
    page, slash = await web.get("/desk"), await web.get("/desk/")

    assert page.status_code == slash.status_code == 200
    assert page.text == slash.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|//", page.text)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    found = {source: (await web.get(source)).status_code for source in sources}
    assert found == dict.fromkeys(sources, 200)


@pytest.mark.parametrize("sent", ["{tag}", '"other", W/{tag}'])
async def test_what_the_client_has_is_not_sent_again(web: httpx.AsyncClient, sent: str) -> None:
    tag = (await web.get("/desk/app.js")).headers["etag"]

    again = await web.get("/desk/app.js", headers={"If-None-Match": sent.format(tag=tag)})
    other = await web.get("/desk/app.js", headers={"If-None-Match": '"other"'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/desk/nothing.js", "/desk/screens", "/desk/screens/", "/desk/app.js/"),
        *("/desk/../routes.py", "/desk/%2e%2e/routes.py", "/desk/..%2froutes.py"),
        *("/desk//etc/passwd", "/desk/%2fetc/passwd", "/desk/static/app.js", "/desk/app.js%00"),
    ],
)
async def test_nothing_else_is_there(web: httpx.AsyncClient, path: str) -> None:
    url = httpx.URL(str(web.base_url), raw_path=path.encode())

    assert (await web.get(url)).status_code == 404


async def test_a_page_load_fits_the_limit_and_is_counted(redis: Redis, settings: Settings) -> None:
    """The files are small and many: an address may load the page as often as it may ask others."""
    limited = settings.model_copy(update={"RATE_LIMIT": "1/hour"})
    async with serving(create_app(limited)) as client:
        loads = [(await client.get("/desk")).status_code for _ in range(DESK_FILES_MAX)]
        beyond = await client.get("/desk/app.js")

    assert loads == [200] * DESK_FILES_MAX
    assert beyond.status_code == 429
    assert beyond.json()["violated-policies"] == ["desk-address"]
