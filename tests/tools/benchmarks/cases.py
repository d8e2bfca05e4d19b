"""The measured requests, for the service and both yardsticks: the only list of them.

A case makes the load that wrk sends to a contender in one round, with the expected answers. It also
prepares the round (an empty cache, fresh orders).
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from uuid import UUID

from tests.tools.benchmarks import documents, thin
from tests.tools.benchmarks.data import Generator
from tests.tools.benchmarks.service import ORDER, PENDING, Customer, Service
from tests.tools.benchmarks.wrk import Expected, Load, Request

JSON = {"Content-Type": documents.JSON}
PAID = b'{"status":"PAID"}'
DISTINCT_ORDERS = 20_000  # for a round of misses: more than a few seconds need
CHANGES_PER_S = 5_000  # fresh orders for a round of changes, so that every change appends
READS_IN_MIX, WRITES_IN_MIX = 4, 1
OURS = "ours"
CONTENDERS = (OURS, "bare", "thin")


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    seconds: float
    rounds: int
    orders: int
    events: int
    rate: float | None


@dataclass
class Prepared:
    """The input of the cases. `ids`: orders of the data; `order_id`: one that no case changes."""

    service: Service
    generator: Generator
    reader: Customer
    order_id: UUID
    etag: str
    contents: Mapping[str, bytes]
    ids: list[UUID] = field(default_factory=list)
    seconds: float = 1.0
    rate: float | None = None  # orders/s that the pipeline keeps up with, once measured

    @property
    def path(self) -> str:
        return f"/orders/{self.order_id}/"

    @property
    def user_path(self) -> str:
        return f"/orders/user/{self.reader.user_id}/"

    async def warm(self) -> None:
        """Caches the order, and writes the thin yardstick's keys."""
        service = self.service
        names = {str(self.order_id): "order", "staff": "staff", "user": "user"}
        await service.redis.mset({thin.key_of(k): self.contents[v] for k, v in names.items()})
        cached = False
        while not cached:
            answer = await service.web.get(self.path, headers=self.reader.headers)
            cached = answer.raise_for_status().headers["x-cache"] == "hit"


async def prepare(service: Service, generator: Generator, folder: Path, seconds: float) -> Prepared:
    """Makes the input of the cases; writes the yardsticks' documents into `folder`."""
    reader = service.customers[0]
    placed = await service.place(reader)
    await service.drain()
    order_id = UUID(placed.json()["id"])
    order = await service.web.get(f"/orders/{order_id}/", headers=reader.headers)
    staff = await service.web.get("/orders/", headers=service.staff)
    user = await service.web.get(f"/orders/user/{reader.user_id}/", headers=reader.headers)
    contents = {
        name: answer.raise_for_status().content
        for name, answer in zip(documents.NAMES, (order, placed, staff, user), strict=True)
    }
    documents.write(folder, contents)
    rows = await service.database.fetch(
        "SELECT order_id FROM read_models.order_view WHERE order_id <> $1 LIMIT $2",
        *(order_id, DISTINCT_ORDERS),
    )
    ids = [row["order_id"] for row in rows]
    etag = order.headers["etag"]
    return Prepared(service, generator, reader, order_id, etag, contents, ids, seconds)


MakeLoad = Callable[[Prepared, str], Awaitable[Load]]


@dataclass(frozen=True)
class Case:
    """`appends`: each right answer of the service means an event, which is checked. `cache`: the
    expected X-Cache of the answers; the table shows how many had it.
    """

    name: str
    make: MakeLoad
    appends: bool = False
    cache: str | None = None


# --- reads ----------------------------------------------------------------------------------------


def _get(path: str, headers: Mapping[str, str], **more: str) -> Request:
    return Request("GET", (path,), {**headers, **more})


async def _get_hit(prepared: Prepared, contender: str) -> Load:
    await prepared.warm()
    expected = Expected(equals=prepared.contents["order"], header=("x-cache", "hit"))
    return Load((_get(prepared.path, prepared.reader.headers),), {200: expected})


async def _get_miss(prepared: Prepared, contender: str) -> Load:
    """Distinct orders after a flush. The thin service gets them back: it would answer 404."""
    service, ours = prepared.service, contender == OURS
    await service.redis.flushdb()
    if contender == "thin":
        document = prepared.contents["order"]
        await service.redis.mset({thin.key_of(str(i)): document for i in prepared.ids})
    paths = tuple(f"/orders/{order_id}/" for order_id in prepared.ids)
    expected = Expected(contains=b'"items":[{', header=("x-cache", "miss"))
    return Load((Request("GET", paths, service.staff, once=ours),), {200: expected})


async def _not_modified(prepared: Prepared, contender: str) -> Load:
    await prepared.warm()
    path = prepared.path if contender == OURS else f"/not-modified/{prepared.order_id}/"
    more = {"If-None-Match": prepared.etag}
    return Load((_get(path, prepared.reader.headers, **more),), {304: Expected(equals=b"")})


async def _list_staff(prepared: Prepared, contender: str) -> Load:
    return await _list(prepared, contender, "/orders/", prepared.service.staff, "staff")


async def _list_next(prepared: Prepared, contender: str) -> Load:
    """The second page, by its cursor; the yardsticks answer the first one, of the same size."""
    staff = prepared.service.staff
    if contender != OURS:
        return await _list_staff(prepared, contender)
    first = (await prepared.service.web.get("/orders/", headers=staff)).raise_for_status()
    path = f"/orders/?cursor={first.json()['next_cursor']}"
    return await _list(prepared, contender, path, staff, "staff")


async def _list_user(prepared: Prepared, contender: str) -> Load:
    headers = prepared.reader.headers
    return await _list(prepared, contender, prepared.user_path, headers, "user")


async def _list(
    prepared: Prepared, contender: str, path: str, headers: Mapping[str, str], name: str
) -> Load:
    """A page of 50 orders; the expected answer is the page as it is now."""
    await prepared.warm()
    page = prepared.contents[name]
    if contender == OURS:
        page = (await prepared.service.web.get(path, headers=headers)).raise_for_status().content
    return Load((_get(path, headers),), {200: Expected(equals=page)})


# --- writes ---------------------------------------------------------------------------------------


def _places(prepared: Prepared) -> list[Request]:
    """One request of each customer."""
    return [
        Request("POST", ("/orders/",), {**customer.headers, **JSON}, ORDER)
        for customer in prepared.service.customers
    ]


def _placed(prepared: Prepared, contender: str) -> Expected:
    if contender == OURS:
        return Expected(contains=b'"status":"PENDING"')
    return Expected(equals=prepared.contents["placed"])


async def post(prepared: Prepared, contender: str) -> Load:
    return Load(tuple(_places(prepared)), {201: _placed(prepared, contender)})


async def _patch(prepared: Prepared, contender: str) -> Load:
    """By staff, each of a different PENDING order."""
    fresh, ours = [prepared.order_id], contender == OURS
    if ours:
        count = round(CHANGES_PER_S * prepared.seconds)
        fresh = await prepared.generator.fill(count, models=[PENDING])
    paths = tuple(f"/orders/{order_id}/" for order_id in fresh)
    headers = {**prepared.service.staff, **JSON}
    expected = (
        Expected(contains=b'"status":"PAID"')
        if ours
        else Expected(equals=prepared.contents["order"])
    )
    return Load((Request("PATCH", paths, headers, PAID, once=ours),), {200: expected})


async def _mix(prepared: Prepared, contender: str) -> Load:
    """Four reads of a cached order for each placed order."""
    await prepared.warm()
    read = _get(prepared.path, prepared.reader.headers)
    requests = chain.from_iterable(
        (*[read] * READS_IN_MIX, *[place] * WRITES_IN_MIX) for place in _places(prepared)
    )
    expected = {
        200: Expected(equals=prepared.contents["order"]),
        201: _placed(prepared, contender),
    }
    return Load(tuple(requests), expected)


CASES = {
    case.name: case
    for case in (
        Case("get-hit", _get_hit, cache="hit"),
        Case("get-miss", _get_miss, cache="miss"),
        Case("not-modified", _not_modified),
        Case("list-staff", _list_staff),
        Case("list-next", _list_next),
        Case("list-user", _list_user),
        Case("post", post, appends=True),
        Case("patch", _patch, appends=True),
        Case("mix", _mix),
    )
}
