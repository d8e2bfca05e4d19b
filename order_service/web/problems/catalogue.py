"""Every problem type by its slug.

Responses, the OpenAPI document and the pages `/problems/{slug}` all use this table of statuses,
members and texts. A type is never renamed: clients depend on its name.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from order_service.web.problems.order_problems import ORDER_PROBLEMS
from order_service.web.problems.problem_type import ABOUT_BLANK, MEMBERS, ProblemType
from order_service.web.problems.request_problems import REQUEST_PROBLEMS

CATALOGUE: Mapping[str, ProblemType] = {**REQUEST_PROBLEMS, **ORDER_PROBLEMS}
_EXAMPLE_ID = "0195f0a1-5c3e-7d1a-9b1e-2f4c6a8b0d12"


def type_of(slug: str) -> str:
    """The problem document's `type`."""
    return CATALOGUE[slug].uri or f"/problems/{slug}"


def title_of(uri: str, status: int) -> str:
    """The problem document's `title`: constant per type."""
    if uri == ABOUT_BLANK:
        return HTTPStatus(status).phrase
    return re.split("[/#]", uri)[-1].replace("-", " ").capitalize()


def example_of(slug: str) -> dict[str, Any]:
    """A whole problem document."""
    kind = CATALOGUE[slug]
    document: dict[str, Any] = {
        "type": type_of(slug),
        "title": title_of(type_of(slug), kind.status),
        "status": kind.status,
        "detail": kind.detail,
        "instance": _EXAMPLE_ID,
        "request_id": _EXAMPLE_ID,
    }
    return document | {name: MEMBERS[name].example for name in (*kind.members, *kind.may_have)}
