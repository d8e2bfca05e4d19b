"""The desk's files, from memory.

All that the page shows and does goes through the public API, so these routes know no orders and no
users: they serve the same bytes to everybody. A path is looked up among the files that the package
carries, never on the disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from order_service.web.rate_limits import admitted

PAGE = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_ETAG = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class File:
    """`headers`: of its answers, the one that it has not changed included."""

    body: bytes
    headers: dict[str, str]

    def answer(self, if_none_match: str) -> Response:
        """304 for a client that has these bytes already."""
        if self.headers["ETag"] in _ETAG.findall(if_none_match):
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, 200, self.headers)


def install(app: FastAPI) -> None:
    """`/desk`, and the files below it."""
    found = dict(_files(files("order_service.desk") / "static"))

    async def file(request: Request) -> Response:
        name = request.path_params.get("name") or PAGE
        if name not in found:
            raise HTTPException(404)
        return found[name].answer(request.headers.get("if-none-match", ""))

    for path in ("/desk", "/desk/{name:path}"):
        app.add_route(path, admitted(file), include_in_schema=False)


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, File]]:
    """All below the folder, by path. `no-cache`: asked for anew each time, so that no page mixes
    files of two versions for longer than it is open; the answer is nearly always a 304."""
    for entry in folder.iterdir():
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
            continue
        body = entry.read_bytes()
        headers = {
            "Content-Type": _MEDIA_TYPES[f".{name.rpartition('.')[2]}"],
            "Cache-Control": "no-cache",
            "ETag": f'"{sha256(body).hexdigest()[:32]}"',
        }
        yield name, File(body, headers)
