"""API keys against access tokens: the same requests by both, in turn."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from tests.support.servers.stack import say
from tests.tools.benchmarks.cases import CASES, OURS, Options, Prepared
from tests.tools.benchmarks.figures import Figure, paired
from tests.tools.benchmarks.service import SETTINGS, Customer, Service
from tests.tools.benchmarks.wrk import Answers, Load

SCOPES = ("orders:read", "orders:write", "orders:price")
MEASURED = ("get-hit", "post")
WARM_UP_S = 1.0


async def api_keys(prepared: Prepared, options: Options) -> list[Figure]:
    """The rate by key; its ratio to the rate by token of the same round is in the note."""
    by_key = {customer.headers["Authorization"]: await _key(prepared.service, customer)
              for customer in prepared.service.customers}  # fmt: skip
    figures = []
    for name in MEASURED:
        rounds = [await _round(prepared, name, by_key, options) for _ in range(options.rounds)]
        by_token, keyed = [one[0].rate for one in rounds], [one[1].rate for one in rounds]
        ratio = paired(keyed, by_token)
        say(f"  {name} by key {median(keyed):,.0f}/s, {ratio:.2f} of that by token")
        p50, p99 = (tuple(one[1].p50_ms for one in rounds), tuple(one[1].p99_ms for one in rounds))
        note = f"{ratio:.2f} of the rate by access token"
        figures.append(
            Figure(f"{name} by key", "requests/s", tuple(keyed), p50_ms=p50, p99_ms=p99, note=note)
        )
    return figures


async def _round(
    prepared: Prepared, name: str, by_key: Mapping[str, str], options: Options
) -> tuple[Answers, Answers]:
    """The answers by token and by key."""

    async def by_token() -> Load:
        return await CASES[name].make(prepared, OURS)

    async def keyed() -> Load:
        load = await CASES[name].make(prepared, OURS)
        requests = [
            replace(
                request,
                headers={
                    **request.headers,
                    "Authorization": by_key[request.headers["Authorization"]],
                },
            )
            for request in load.requests
        ]
        return replace(load, requests=tuple(requests))

    answers = [await _turn(prepared, make, options.seconds) for make in (by_token, keyed)]
    return answers[0], answers[1]


async def _turn(prepared: Prepared, make: Callable[[], Awaitable[Load]], seconds: float) -> Answers:
    service, load = prepared.service, await make()
    await service.wrk.run(service.stack.url, load, WARM_UP_S)  # the key is known afterwards
    await service.drain()
    return await service.wrk.run(service.stack.url, load, seconds)


async def _key(service: Service, customer: Customer) -> str:
    words: Sequence[str] = [word for scope in SCOPES for word in ("--scope", scope)]
    printed = await service.command(
        *("keys", "create", "bench", *words, "--acts-for", str(customer.user_id)),
        *("--rate-limit", SETTINGS["RATE_LIMIT"]),
    )
    return f"Bearer {printed.split()[-1]}"
