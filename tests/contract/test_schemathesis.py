"""schemathesis against the live service, with every check, as staff and as a customer.

Staff may do everything. As a customer, each order that was read is asked for by another customer
as well, who must not see it. The examples are sent by `test_examples.py`, in an order that makes
sense. What fails is printed with the requests that repeat it.
"""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import settings as random_settings
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.cache.order_cache import OrderCache
from order_service.settings import Settings
from tests.support.http.accounts import Account, new_account
from tests.support.http.conformance import known_contract
from tests.support.http.orders import place
from tests.support.read_side.read_side import advance_all, operators_served, order_cache

HERE = Path(__file__).parent
# Of an operation, and of walks. In `fuzz`, phases are repeated for so many seconds.
EXAMPLES = 10
FUZZ_SECONDS = 60
USERS = {"ann": "customer", "bob": "customer", "clerk": "staff"}
# Boundary values take too long for all operations: some in each run of the tests.
COVERED = 12
GAP_S = 0.3
RUNS = (("clerk", "coverage"), ("clerk", "fuzzing"), ("clerk", "stateful"), ("ann", "stateful"))


@pytest.mark.fuzz
async def test_the_service_keeps_its_openapi_document(
    web: httpx.AsyncClient,
    web_engine: AsyncEngine,
    projector_engine: AsyncEngine,
    settings: Settings,
    redis: Redis,
    tmp_path: Path,
    random_seed: int,
) -> None:
    accounts = {name: await new_account(web_engine, role) for name, role in USERS.items()}
    identities = []
    for name, account in accounts.items():
        headers = [{"name": k, "value": v} for k, v in account.headers.items()]
        identities.append({"name": name, "fixedHeaders": headers})
    (tmp_path / "auth.json").write_text(json.dumps({"auth": identities}))

    cache = await order_cache(redis, projector_engine)
    async with (
        operators_served(settings, projector_engine, cache),
        orders_placed(web, accounts["clerk"], projector_engine, cache),
    ):
        outcomes = await asyncio.gather(*(_run(web, tmp_path, *run, random_seed) for run in RUNS))

    failed = [output for code, output in outcomes if code]
    assert not failed, "\n".join(failed)


@asynccontextmanager
async def orders_placed(
    web: httpx.AsyncClient, clerk: Account, engine: AsyncEngine, cache: OrderCache
) -> AsyncIterator[None]:
    """Inside the block something happens all the while: a stream of nothing would take the whole
    time that each request for it has."""

    async def place_on() -> None:
        while True:
            await place(web, clerk)
            await advance_all(engine, cache)
            await asyncio.sleep(GAP_S)

    placing = asyncio.create_task(place_on())
    try:
        yield
    finally:
        placing.cancel()
        with suppress(asyncio.CancelledError):
            await placing


async def _run(
    web: httpx.AsyncClient, folder: Path, user: str, phase: str, seed: int
) -> tuple[int, str]:
    """Exit code and output."""
    config = folder / f"{user}-{phase}.toml"
    peers = 'peers = ["ann", "bob"]' if USERS[user] == "customer" else ""
    auth = f'[auth.wfc]\npath = "{folder / "auth.json"}"\nuser = "{user}"\n{peers}\n'
    config.write_text((HERE / "schemathesis.toml").read_text() + auth)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{web.base_url}/openapi.json", "--checks", "all", "--phases", phase),
        *("--seed", str(seed), "--no-color", *_bounds(phase, seed)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,  # for what it writes
        env={**os.environ, "PYTHONPATH": str(HERE)},  # where checks.py is
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def _bounds(phase: str, seed: int) -> list[str]:
    if phase == "coverage":
        names = random.Random(seed).sample(known_contract().operation_ids, COVERED)
        return [f"--include-operation-id={name}" for name in names]
    if random_settings.get_current_profile_name() == "fuzz":
        return ["--max-time", str(FUZZ_SECONDS)]
    return ["--max-examples", str(EXAMPLES)]
