"""The operator's page in a real browser while much happens: does it freeze, does it grow?

Before a load and after it the page's memory is read behind a collection of garbage. Under the load
the page itself notes each gap between two frames and each task that held its thread for 50 ms.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from playwright.sync_api import CDPSession, Page

from tests.support.servers.chromium import SIZE, complaints, log_in, running_browser
from tests.tools.benchmarks.cases import OURS, Prepared, Wanted, post
from tests.tools.benchmarks.figures import Figure, percentile
from tests.tools.benchmarks.service import say

EVENTS_PER_S = 500.0  # an order placed is one
DESK_S = 30.0  # at least, of one load
SCREENS = ("board", "events")
LIVE_TIMEOUT_MS = 60_000
MB = 1_000_000
_WATCH = """() => {
  window.seen = { gaps: [], longTasks: [] };
  let last = performance.now();
  const frame = (now) => {
    seen.gaps.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) =>
    seen.longTasks.push(...list.getEntries().map((task) => task.duration)),
  ).observe({ type: "longtask" });
}"""


@dataclass(frozen=True)
class Memory:
    heap_mb: float
    nodes: int


@dataclass(frozen=True)
class Watched:
    before: Memory
    after: Memory
    gaps_ms: list[float]
    long_tasks_ms: list[float]


async def desk(prepared: Prepared, wanted: Wanted) -> list[Figure]:
    """Each screen in its turn, under orders placed at a fixed rate."""
    email = f"{uuid4().hex}@example.com"
    made = await prepared.service.command("create-user", email, "--role", "staff")
    await prepared.service.drain()
    loop = asyncio.get_running_loop()

    def load() -> None:
        asyncio.run_coroutine_threadsafe(_load(prepared, wanted), loop).result()

    # Playwright's plain interface must not meet a running loop: it gets a thread of its own.
    watched = await asyncio.to_thread(_watch, prepared, email, made.split()[-1], load)
    return [figure for screen, seen in watched.items() for figure in _figures(screen, seen)]


async def _load(prepared: Prepared, wanted: Wanted) -> None:
    load = replace(await post(prepared, OURS), rate=EVENTS_PER_S)
    seconds = max(wanted.seconds, DESK_S)
    answers = await prepared.service.wrk.run(prepared.service.stack.url, load, seconds)
    await prepared.service.drain()
    say(f"  {answers.rate:,.0f} events/s for {seconds:.0f} s")


def _watch(
    prepared: Prepared, email: str, password: str, load: Callable[[], None]
) -> dict[str, Watched]:
    with running_browser() as browser:
        context = browser.new_context(base_url=prepared.service.stack.url, viewport=SIZE)
        log_in(context, email, password)
        return {screen: _screen(context.new_page(), screen, load) for screen in SCREENS}


def _screen(page: Page, screen: str, load: Callable[[], None]) -> Watched:
    found = complaints(page)
    page.goto(f"/desk#/{screen}")
    page.locator("[data-state=live]").wait_for(timeout=LIVE_TIMEOUT_MS)
    session = page.context.new_cdp_session(page)
    load()  # what a page has at hand is filled by the first load, and may not grow by the second
    before = _memory(session)
    page.evaluate(_WATCH)
    load()
    seen = page.evaluate("window.seen")
    watched = Watched(before, _memory(session), seen["gaps"], seen["longTasks"])
    page.close()
    assert found == [], found
    return watched


def _memory(session: CDPSession) -> Memory:
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"]
    return Memory(heap / MB, session.send("Memory.getDOMCounters")["nodes"])


def _figures(screen: str, seen: Watched) -> list[Figure]:
    name, busy = f"desk: {screen}", sum(seen.long_tasks_ms)
    return [
        Figure(
            *(f"{name}, longest gap between frames", "ms", (max(seen.gaps_ms),)),
            p50_ms=(percentile(seen.gaps_ms, 50),),
            p99_ms=(percentile(seen.gaps_ms, 99),),
            note=f"{len(seen.long_tasks_ms)} tasks of 50 ms and more, {busy:,.0f} ms together",
        ),
        Figure(f"{name}, heap before", "MB", (seen.before.heap_mb,)),
        Figure(
            *(f"{name}, heap after", "MB", (seen.after.heap_mb,)),
            note=f"nodes {seen.before.nodes:,} before, {seen.after.nodes:,} after",
        ),
    ]
