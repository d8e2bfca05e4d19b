"""Measures the operator's page in a real browser under load: does it freeze, does its memory grow?

The page's memory is read after a garbage collection, before the load and after it. Under load the
page records each gap between two frames and each task that held its thread for 50 ms.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import uuid4

from playwright.sync_api import CDPSession, Page

from tests.support.servers.chromium import SIZE, complaints, log_in, running_browser
from tests.support.servers.stack import say
from tests.tools.benchmarks.cases import OURS, Options, Prepared, post
from tests.tools.benchmarks.figures import Figure, percentile

EVENTS_PER_S = 500.0  # each placed order is one
DESK_S = 30.0  # of one load, at least
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


async def desk(prepared: Prepared, options: Options) -> list[Figure]:
    """Measures each screen in turn while orders are placed at a fixed rate."""
    email = f"{uuid4().hex}@example.com"
    made = await prepared.service.command("create-user", email, "--role", "staff")
    await prepared.service.drain()
    loop = asyncio.get_running_loop()

    def load() -> None:
        asyncio.run_coroutine_threadsafe(_load(prepared, options), loop).result()

    # Playwright's synchronous interface refuses a thread with a running loop, so it gets another.
    watched = await asyncio.to_thread(_watch, prepared, email, made.split()[-1], load)
    return [figure for screen, seen in watched.items() for figure in _figures(screen, seen)]


async def _load(prepared: Prepared, options: Options) -> None:
    load = replace(await post(prepared, OURS), rate=EVENTS_PER_S)
    seconds = max(options.seconds, DESK_S)
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
    load()  # fills the page's lists, so that a second load must not make them grow
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
