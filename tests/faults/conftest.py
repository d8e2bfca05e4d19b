"""A house for each module that asks for one, and a customer in it."""

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from order_service.settings import Settings
from tests.conftest import own_database
from tests.support.http.accounts import PASSWORD
from tests.support.waiting import WAIT_S
from tests.tools.faults.house import House, Visit, house_of, visiting


@pytest.fixture(scope="module")
def house(migrated_template: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    failpoints = tmp_path_factory.mktemp("failpoints")
    with own_database(migrated_template) as settings, house_of(settings, failpoints) as house:
        yield house


@pytest.fixture(scope="module")
def customer(house: House) -> dict[str, str]:
    """An e-mail address and a password, registered."""
    login = {"email": f"{uuid4().hex[:8]}@example.com", "password": PASSWORD}
    httpx.post(f"{house.url('other')}/register/", json=login, timeout=WAIT_S).raise_for_status()
    return login


@pytest.fixture(scope="module")
def headers(house: House, customer: dict[str, str]) -> dict[str, str]:
    answer = httpx.post(f"{house.url('other')}/token/", json=customer).raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visit(house: House, headers: dict[str, str]) -> AsyncIterator[Visit]:
    async with visiting(house, headers) as visit:
        yield visit
