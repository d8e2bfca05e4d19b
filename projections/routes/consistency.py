"""Which writes a read must show, from its headers `Consistency-Token` and `Prefer`."""

import re
from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from order_service import limits
from order_service.documents.consistency_token import Token, parse
from order_service.log.event_log import EventLog
from order_service.web.openapi.annotations import raises
from projections.queries.freshness import Wanted

_SECONDS = re.compile("[0-9]{1,9}")


@raises("projection-lagging")
async def _wanted(
    request: Request,
    consistency_token: Annotated[
        list[str] | None,
        Header(
            description="Tokens of writes, comma-separated: the response shows these writes.",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]{36}(, *[A-Za-z0-9_-]{36})*$"},
        ),
    ] = None,
    prefer: Annotated[
        list[str] | None,
        Header(
            description="`wait=2`: how many seconds a list or report may wait for these writes, at "
            "most 10. `handling=strict`: 503 instead of a response without them."
        ),
    ] = None,
) -> Wanted:
    if consistency_token is None:
        return Wanted()
    log: EventLog = request.app.state.log
    tokens = parse(",".join(consistency_token), log.partitions)
    return preferring(tokens, ",".join(prefer or ()))


# Raises InvalidRequest `malformed-request` for tokens that no write returned.
WantedDependency = Annotated[Wanted, Depends(_wanted)]


def preferring(tokens: tuple[Token, ...], prefer: str) -> Wanted:
    """`prefer`: the header. Unknown preferences are ignored (RFC 7240)."""
    preferences = _preferences(prefer)
    wait_s, applied = limits.READ_WAIT_S, []
    if _SECONDS.fullmatch(preferences.get("wait", "")):
        wait_s = min(int(preferences["wait"]), limits.READ_WAIT_MAX_S)
        applied.append(f"wait={wait_s}")
    handling = preferences.get("handling")
    if handling in ("strict", "lenient"):
        applied.append(f"handling={handling}")
    return Wanted(tokens, wait_s, handling == "strict", ", ".join(applied))


def _preferences(header: str) -> dict[str, str]:
    """Name to value; the first of several values counts (RFC 7240, section 2)."""
    preferences: dict[str, str] = {}
    for preference in header.split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        preferences.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return preferences
