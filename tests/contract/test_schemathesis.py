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
from pathlib import Path

import httpx
import pytest
from hypothesis import settings as random_settings
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from order_service.settings import Settings
from tests.support.http.accounts import new_account
from tests.support.http.conformance import known_contract
from tests.support.read_side.read_side import operators_served, order_cache

HERE = Path(__file__).parent
# Of an operation, and of walks. In `fuzz`, phases are repeated for so many seconds.
EXAMPLES = 10
FUZZ_SECONDS = 60
USERS = {"ann": "customer", "bob": "customer", "clerk": "staff"}
# Boundary values take too long for all operations: some in each run of the tests.
COVERED = 12
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
    identities = []
    for name, role in USERS.items():
        account = await new_account(web, web_engine, role)
        headers = [{"name": k, "value": v} for k, v in account.headers.items()]
        identities.append({"name": name, "fixedHeaders": headers})
    (tmp_path / "auth.json").write_text(json.dumps({"auth": identities}))

    cache = await order_cache(redis, projector_engine)
    async with operators_served(settings, projector_engine, cache):
        outcomes = await asyncio.gather(*(_run(web, tmp_path, *run, random_seed) for run in RUNS))

    failed = [output for code, output in outcomes if code]
    assert not failed, "\n".join(failed)


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
