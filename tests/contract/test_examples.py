"""The examples of the OpenAPI document are recorded requests and answers.

`RECORD_EXAMPLES=1` records them again: read the difference before you commit it.
"""

import json
import os
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from aio_pika.abc import AbstractChannel
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.documents import consistency_token
from order_service.ids import parse_order_number
from order_service.infra import rabbitmq as broker
from order_service.settings import Settings
from order_service.web.openapi import annotations
from order_service.web.openapi.examples import FILE, FORM
from tests.contract.exchanges import HEADERS, at, body_of, filled, written
from tests.contract.redaction import DAY, MEASURED, places, redacted
from tests.contract.walk import (
    ACCOUNTS,
    API_KEYS,
    LIFE,
    OPERATIONS,
    PLACING,
    READS,
    STEPS,
    STREAMS,
    Step,
)
from tests.support.http.accounts import Account, new_account
from tests.support.http.conformance import Contract, known_contract
from tests.support.log.examples import PLACED
from tests.support.log.given_log import POISON, given_order
from tests.support.read_side.read_side import (
    advance_all,
    operators_served,
    order_cache,
    replayed,
    run,
)

RELAYED = (
    "UPDATE checkpoints c SET position = p.position FROM partitions p "
    "WHERE c.name = 'relay' AND p.partition = c.partition"
)


class Walk:
    """Sends the steps in order, and keeps the values that later steps need."""

    def __init__(
        self, web: httpx.AsyncClient, contract: Contract, staff: Account, admin: Account
    ) -> None:
        self._web = web
        self._contract = contract
        self.today = f"{datetime.now(UTC):%Y-%m-%d}"
        self._known: dict[str, Any] = {
            "today": self.today,
            "staff_token": staff.headers["Authorization"].removeprefix("Bearer "),
            "admin_token": admin.headers["Authorization"].removeprefix("Bearer "),
            "line_id": 1,
            "slug": "stale-version",
            "name": "sales_by_day",
        }
        self.exchanges: list[dict[str, Any]] = []

    async def take(self, steps: tuple[Step, ...]) -> None:
        for step in steps:
            await self._take(step)

    async def _take(self, step: Step) -> None:
        method, template = self._contract.where(step.operation)
        path = {name: str(self._known[name]) for name in Contract.parameters(template)}
        query, headers = filled(step.query, self._known), filled(step.headers, self._known)
        body, form = filled(step.body, self._known), filled(step.form, self._known)
        authorization = {}
        if step.who != "nobody":
            authorization = {"Authorization": f"Bearer {self._known[f'{step.who}_token']}"}
        answer = await self._send(
            method,
            template.format(**path),
            params=query,
            headers=headers | authorization,
            **({} if body is None else {"json": body}),
            **({} if form is None else {"data": form}),
        )
        assert answer.status_code == step.status, f"{step}: {answer.text}"
        found = body_of(answer)
        for name, pointer in step.keeps.items():
            self._known[name] = at(pointer, found)
        if isinstance(found, dict) and isinstance(found.get("version"), int):
            self._known["version"] = found["version"]
        sent = {"path": path, "query": query, "headers": headers, "body": body, "form": form}
        shown = {name: answer.headers[name] for name in HEADERS if name in answer.headers}
        exchange = {
            "operation": step.operation,
            "name": step.name,
            "request": {k: v for k, v in sent.items() if v or (k == "body" and v is not None)},
            "status": answer.status_code,
            "media_type": answer.headers.get("content-type", "").partition(";")[0],
            "headers": shown,
            "body": found,
        }
        self.exchanges.append(exchange)

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The whole answer; for a stream of events the first event."""
        async with self._web.stream(method, path, **request) as answer:
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                await answer.aread()
                return answer
            text = ""
            async for chunk in answer.aiter_text():
                text += chunk
                if "\ndata: " in text and text.endswith("\n\n"):
                    break
        first = next(block for block in text.split("\n\n") if "data: " in block)
        return httpx.Response(answer.status_code, headers=answer.headers, text=first + "\n\n")


async def test_the_recorded_examples_equal_the_real_exchanges(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    settings: Settings,
    redis: Redis,
    rabbitmq: AbstractChannel,
) -> None:
    staff = await new_account(web_engine, "staff")
    admin = await new_account(web_engine, "admin")
    walk = Walk(web, known_contract(), staff, admin)

    await walk.take(ACCOUNTS + PLACING + LIFE)
    cache = await order_cache(redis, projector_engine)
    await advance_all(projector_engine, cache)
    await walk.take(READS)
    await given_order(web_engine, PLACED, POISON)
    await advance_all(projector_engine, cache)
    await run(projector_engine, RELAYED)
    await broker.declare(rabbitmq)
    await replayed(settings, "sales_by_day", "--anyway")
    async with operators_served(settings, projector_engine, cache):
        await walk.take(OPERATIONS)
    await walk.take(API_KEYS)
    await walk.take(STREAMS)

    exchanges = redacted(walk.exchanges, walk.today)
    if os.environ.get("RECORD_EXAMPLES"):
        FILE.write_text(written(exchanges))
        return
    for sent, documented in zip(exchanges, json.loads(FILE.read_text()), strict=True):
        if sent["media_type"] == "text/event-stream":
            sent, documented = _without_text(sent), _without_text(documented)
        assert sent == documented


def _without_text(exchange: dict[str, Any]) -> dict[str, Any]:
    """The exchange with only the names of the event's lines: which order's event comes first
    depends on partitions."""
    lines = exchange["body"].splitlines()
    return exchange | {"body": [line.partition(":")[0] for line in lines]}


def test_every_operation_has_an_example() -> None:
    sent = {step.operation for step in STEPS}

    assert sent == set(known_contract().operation_ids)


RECORDED: list[dict[str, Any]] = json.loads(FILE.read_text())


@pytest.mark.parametrize("example", RECORDED, ids=lambda e: f"{e['operation']}-{e['name']}")
def test_an_example_is_as_its_own_operation_s_schemas_say(example: dict[str, Any]) -> None:
    """And has no member that they do not name."""
    contract = known_contract()
    method, template = contract.where(example["operation"])
    operation = contract.document["paths"][template][method.lower()]
    answer = contract.resolved(operation["responses"][str(example["status"])])

    for media_type, kind in (("application/json", "body"), (FORM, "form")):
        if kind in example["request"]:
            schema = operation["requestBody"]["content"][media_type]["schema"]
            contract.check_body(f"{method} {template}", schema, example["request"][kind])
    if example["media_type"] == "application/json":
        schema = answer["content"]["application/json"]["schema"]
        contract.check_body(f"{method} {template}", schema, example["body"])


@pytest.mark.parametrize("operation", MEASURED)
def test_each_measured_member_is_one_of_its_operation(operation: str) -> None:
    [example] = [e for e in RECORDED if e["operation"] == operation]

    for path, value in MEASURED[operation].items():
        found = places(example["body"], path)
        assert found, path
        assert [parent[key] for parent, key in found] == [value] * len(found), path


def test_what_is_measured_in_one_operation_is_kept_in_all_others() -> None:
    """By whatever name: under an operation that has nothing measured each number stays."""
    measured = [e for e in RECORDED if e["operation"] in MEASURED]
    unmeasured = [e | {"operation": "service_health", "body": _other(e["body"])} for e in measured]

    for given, shown in zip(unmeasured, redacted(unmeasured, DAY), strict=True):
        assert _numbers(shown["body"]) == _numbers(given["body"])


def _other(value: Any) -> Any:
    """The same members with other numbers."""
    if isinstance(value, dict):
        return {name: _other(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_other(inner) for inner in value]
    return value + 7 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for one in inner for number in _numbers(one)]
    return [value] if not isinstance(value, str) else []


def test_examples_have_numbers_and_tokens_that_the_service_takes() -> None:
    tokens = [
        e["headers"]["Consistency-Token"] for e in RECORDED if "Consistency-Token" in e["headers"]
    ]
    numbers = set(
        re.findall(r'"(A-\d+-\d)"', FILE.read_text() + json.dumps(known_contract().document))
    )

    assert len(tokens) > 20
    assert len(numbers) > 5
    for token in (*tokens, annotations.HEADERS["Consistency-Token"][1]):
        assert len(consistency_token.parse(token, 4)) == 1
    for number in numbers:
        assert parse_order_number(number, 4), number
