"""SingleFlight: a caller shares only a load that begins after its own call."""

import asyncio

from order_service.infra.single_flight import SingleFlight


class Source:
    """A slow source: every read waits for `release`, then returns its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = 0
        self.running_at_most = 0
        self.release = asyncio.Event()

    async def read(self) -> int:
        self.begun += 1
        number = self.begun
        self.running += 1
        self.running_at_most = max(self.running_at_most, self.running)
        await self.release.wait()
        self.running -= 1
        return number


async def settle() -> None:
    """Runs every task that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_burst_of_500_readers_costs_one_load() -> None:
    source, loads = Source(), SingleFlight[str, int]()
    source.release.set()

    numbers = await asyncio.gather(*(loads.load("hot", source.read) for _ in range(500)))

    assert set(numbers) == {1}
    assert len(loads) == 0


async def test_500_readers_that_arrive_during_a_load_share_the_next_one() -> None:
    source, loads = Source(), SingleFlight[str, int]()
    first = asyncio.create_task(loads.load("hot", source.read))
    await settle()
    late = [asyncio.create_task(loads.load("hot", source.read)) for _ in range(500)]
    await settle()

    source.release.set()
    numbers = await asyncio.gather(first, *late)

    assert numbers == [1] + [2] * 500
    assert source.running_at_most == 1
    assert len(loads) == 0


async def test_a_reader_never_gets_a_value_from_before_its_arrival() -> None:
    """Clients read their own writes: the value changes during the first load."""
    value, loads, seen = ["old"], SingleFlight[str, str](), asyncio.Event()

    async def read() -> str:
        found = value[0]
        await seen.wait()
        return found

    early = asyncio.create_task(loads.load("order", read))
    await settle()
    value[0] = "new"
    late = asyncio.create_task(loads.load("order", read))
    seen.set()

    assert await early == "old"
    assert await late == "new"


async def test_loads_of_different_keys_do_not_wait_for_each_other() -> None:
    source, other, loads = Source(), Source(), SingleFlight[str, int]()
    other.release.set()
    blocked = asyncio.create_task(loads.load("a", source.read))
    await settle()

    assert await loads.load("b", other.read) == 1

    source.release.set()
    await blocked


async def test_a_cancelled_reader_leaves_the_load_to_the_others() -> None:
    source, loads = Source(), SingleFlight[str, int]()
    leaver, stayer = (asyncio.create_task(loads.load("hot", source.read)) for _ in range(2))
    await settle()

    leaver.cancel()
    await settle()
    source.release.set()

    assert await stayer == 1
    assert leaver.cancelled()


async def test_a_load_without_readers_still_lets_the_next_load_start() -> None:
    source, loads = Source(), SingleFlight[str, int]()
    leaver = asyncio.create_task(loads.load("hot", source.read))
    await settle()
    leaver.cancel()
    late = asyncio.create_task(loads.load("hot", source.read))
    await settle()

    source.release.set()

    assert await late == 2
    assert len(loads) == 0


async def test_all_readers_of_a_failed_load_get_its_error_and_the_next_load_is_a_new_one() -> None:
    source, loads = Source(), SingleFlight[str, int]()
    source.release.set()

    async def fail() -> int:
        raise LookupError("no such order")

    outcomes = await asyncio.gather(
        *(loads.load("order", fail) for _ in range(3)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [LookupError] * 3
    assert len(loads) == 0
    assert await loads.load("order", source.read) == 1


async def test_finished_loads_are_forgotten_under_steady_traffic() -> None:
    source, loads = Source(), SingleFlight[int, int]()
    source.release.set()

    for _ in range(50):
        await asyncio.gather(*(loads.load(key, source.read) for key in range(20)))

    assert len(loads) == 0
