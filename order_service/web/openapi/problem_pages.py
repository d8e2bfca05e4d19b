"""`/problems/{slug}`: a page for people about each problem type."""

from html import escape

import orjson
from fastapi import APIRouter, Path
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from order_service.web.openapi.annotations import documented
from order_service.web.problems.catalogue import CATALOGUE, example_of, title_of, type_of
from order_service.web.problems.problem_type import MEMBERS

router = APIRouter(tags=["service"])

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
<h1>{title}</h1>
<p>HTTP status {status}; <code>type</code>: <code>{uri}</code></p>
<h2>What it means</h2>
<p>{meaning}</p>
<h2>Why it happens</h2>
<p>{cause}</p>
<h2>What to do</h2>
<p>{remedy}</p>
<h2>Members</h2>
<dl>
<dt><code>type</code>, <code>title</code>, <code>status</code></dt>
<dd>The problem type, its name, and the HTTP status (RFC 9457).</dd>
<dt><code>detail</code></dt>
<dd>An explanation of this occurrence, for people; programs should not parse it.</dd>
<dt><code>instance</code>, <code>request_id</code></dt>
<dd>The request's id, as in the header X-Request-Id and in the logs.</dd>
{members}</dl>
<h2>Example</h2>
<pre>{example}</pre>
</body>
</html>
"""


@router.get(
    "/problems/{slug}",
    operation_id="problems_explain",
    summary="Explain a problem type",
    response_class=HTMLResponse,
    responses=documented("not-found"),
)
async def explain(
    slug: str = Path(description="The last part of a problem document's `type`."),
) -> Response:
    """A page that explains a problem type: its meaning, cause, remedy and members."""
    if slug not in CATALOGUE:
        raise HTTPException(404)
    return HTMLResponse(page(slug))


def page(slug: str) -> str:
    kind = CATALOGUE[slug]
    uri = type_of(slug)
    members = [_member(name, "") for name in kind.members]
    members += [_member(name, " (optional)") for name in kind.may_have]
    example = orjson.dumps(example_of(slug), option=orjson.OPT_INDENT_2).decode()
    return _PAGE.format(
        title=escape(title_of(uri, kind.status)),
        status=kind.status,
        uri=escape(uri),
        meaning=escape(kind.meaning),
        cause=escape(kind.cause),
        remedy=escape(kind.remedy),
        members="".join(members),
        example=escape(example),
    )


def _member(name: str, when: str) -> str:
    return f"<dt><code>{name}</code>{when}</dt><dd>{escape(MEMBERS[name].meaning)}</dd>\n"
