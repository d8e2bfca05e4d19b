"""The desk's files, served from memory.

The page does everything through the public API, so these routes know no orders and no users: every
client gets the same bytes. A path is looked up among the package's files, never on the disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from order_service.web.admission import admitted
from order_service.web.responses import unmodified_tag

PAGE = "index.html"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class File:
    """`headers`: of every response with this file, also of a 304."""

    body: bytes
    headers: dict[str, str]

    def response(self, if_none_match: str) -> Response:
        """304 if the client has these bytes already."""
        if unmodified_tag(if_none_match, self.headers["ETag"]):
            return Response(status_code=304, headers=self.headers)
        return Response(self.body, 200, self.headers)


def install(app: FastAPI) -> None:
    """Adds `/desk` and the files below it."""
    found = dict(_files(files("order_service.desk") / "static"))

    async def file(request: Request) -> Response:
        name = request.path_params.get("name") or PAGE
        if name not in found:
            raise HTTPException(404)
        return found[name].response(request.headers.get("if-none-match", ""))

    for path in ("/desk", "/desk/{name:path}"):
        app.add_route(path, admitted(file), include_in_schema=False)


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, File]]:
    """All files below the folder, by path. `no-cache`: browsers revalidate each file whenever the
    page is opened, so that no page mixes files of two versions; the response is mostly a 304."""
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
