"""O2: whatever is sent, it is answered as it must be: at once, and nothing of it is kept.

Every case is sent on a connection of its own to one running server. Beside its status: the answer
repeats nothing of what was sent, and where it is an error it is short and a problem document.
"""

import asyncio
import json

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.support.hostile.case import CANARY, Case
from tests.support.hostile.framing import FRAMING
from tests.support.hostile.reads import READS
from tests.support.hostile.tokens import token_cases
from tests.support.hostile.writes import WRITES
from tests.support.http.accounts import Account, new_account, new_key
from tests.support.http.orders import place
from tests.support.http.raw_http import Answer, wire
from tests.support.read_side.read_side import ReadSide

ERROR_BYTES_MAX = 4_096  # a document with all the errors that one lists
SENT_AT_ONCE = 8
_STORED = text(
    "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM users), "
    "(SELECT count(*) FROM refresh_tokens), (SELECT count(*) FROM order_texts), "
    "(SELECT count(*) FROM api_keys)"
)


async def test_whatever_is_sent_is_answered_as_it_must_be(
    web: httpx.AsyncClient,
    settings: Settings,
    web_engine: AsyncEngine,
    read_side: ReadSide,
    owner: Account,
    staff: Account,
) -> None:
    known = await _known(web, read_side, owner, staff)
    known |= await _administration(web, web_engine)
    cases = [*FRAMING, *token_cases(settings.SECRET_KEY), *READS, *WRITES]
    before = await _stored(web_engine)
    limit = asyncio.Semaphore(SENT_AT_ONCE)

    async def objection(case: Case) -> str | None:
        async with limit:
            return await _objection(web, case, known)

    found = await asyncio.gather(*map(objection, cases))

    assert len(cases) > 200
    assert not [o for o in found if o], "\n".join(o for o in found if o)
    assert await _stored(web_engine) == before
    assert (await web.get("/readyz")).status_code in (200, 503)


async def _known(
    web: httpx.AsyncClient, read_side: ReadSide, owner: Account, staff: Account
) -> dict[str, bytes]:
    """What the names in the cases stand for."""
    orders = [(await place(web, owner)).json() for _ in range(2)]
    await read_side.advance()
    listed = await web.get("/orders/?limit=1", headers=staff.headers)
    known = {
        "OWNER": owner.headers["Authorization"].removeprefix("Bearer "),
        "STAFF": staff.headers["Authorization"].removeprefix("Bearer "),
        "USER": owner.user_id,
        "ORDER": orders[0]["id"],
        "CURSOR": listed.json()["next_cursor"],
    }
    return {name: value.encode() for name, value in known.items()}


async def _administration(web: httpx.AsyncClient, engine: AsyncEngine) -> dict[str, bytes]:
    admin, key = await new_account(engine, role="admin"), await new_key(engine)
    accounts = {"ADMIN": admin, "KEY": key}
    return {
        name: account.headers["Authorization"].removeprefix("Bearer ").encode()
        for name, account in accounts.items()
    }


async def _stored(engine: AsyncEngine) -> tuple[int, ...]:
    async with engine.connect() as connection:
        return tuple((await connection.execute(_STORED)).one())


async def _objection(web: httpx.AsyncClient, case: Case, known: dict[str, bytes]) -> str | None:
    """What is wrong with the answer."""
    try:
        async with wire(web) as wired:
            wired.send(case.filled(known))
            answer = await wired.answer()
    except (TimeoutError, EOFError, ConnectionError) as error:
        return f"{case.name}: {error!r}"
    wrong = _wrong(case, answer)
    return wrong and f"{case.name}: {wrong}"


def _wrong(case: Case, answer: Answer) -> str | None:
    if answer.status != case.status:
        return f"{answer.status} instead of {case.status}: {answer.body[:300]!r}"
    if CANARY.encode() in answer.body or CANARY in str(answer.headers):
        return f"what was sent comes back: {answer}"
    if answer.status < 400:
        return None
    if answer.headers["content-type"] != "application/problem+json":
        return f"no problem document: {answer}"
    if len(answer.body) > ERROR_BYTES_MAX:
        return f"{len(answer.body)} bytes"
    document = json.loads(answer.body)
    return None if document["status"] == answer.status else f"it says {document['status']}"
