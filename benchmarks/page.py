"""What the page takes in a browser: its first view, live jobs, long curves, many tabs, a cut.

    python -m benchmarks.page [--only first_view,live,curve,tabs,cut,heap] [--minutes 30]

Debian's Chromium, headless and drawing in software, looks at a service of its own; no worker runs, and the changes of
jobs are written into the store. Wanted, on an idle machine: the first view in 60 kB and 1 s; with 200 jobs of which ten
change a second, 95 of 100 frames within 50 ms; 10,000 steps drawn in 100 ms; 20 tabs with one stream; no change missed
when the service is started again; after 30 minutes live at most 5 MB more heap. `make bench` leaves it out: run
`make page-ready` first.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import aiohttp
from playwright.async_api import Browser, CDPSession, expect

from benchmarks.machine import described
from benchmarks.page_town import accepted, at_a_rate, ends, steps, trains
from benchmarks.table import table
from benchmarks.town import HEADERS, KEY, Town, town
from tests.fakes.ports import free_port
from tests.page.browser import PATIENCE_MS, Window, chromium_browser, window
from tests.page.views import cut_sign, enter, live_sign, row_of, rows, show_all
from tunehook.store.store import Store

JOBS, CHANGES, STEPS, TABS = 200, 10.0, 10_000, 20
ENDED = "succeeded"
#: Notes the time between frames, and tasks of the page that took longer than 50 ms.
_WATCH_FRAMES = """
window.frames = []; window.longTasks = []
new PerformanceObserver(list => longTasks.push(...list.getEntries().map(one => one.duration)))
  .observe({type: "longtask", buffered: true})
let last = performance.now()
const frame = now => { frames.push(now - last); last = now; requestAnimationFrame(frame) }
requestAnimationFrame(frame)
"""
#: Milliseconds from the last byte of a job's metrics to the first frame in which its canvas is there.
_DRAWN = """() => new Promise(done => {
  const look = () => {
    const canvas = document.querySelector("figure canvas")
    const answer = performance.getEntriesByType("resource").find(one => one.name.includes("/metrics"))
    if (canvas?.width && answer?.responseEnd) requestAnimationFrame(now => done(now - answer.responseEnd))
    else requestAnimationFrame(look)
  }
  look()
})"""
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Bench:
    place: Town
    store: Store
    browser: Browser
    jobs: list[str]

    @property
    def root(self) -> str:
        return self.place.url.removesuffix("/v1")

    @asynccontextmanager
    async def profile(self) -> AsyncIterator[Window]:
        """Yields a fresh profile, whose tabs count their frames."""
        async with window(self.browser, self.root) as opened:
            await opened.context.add_init_script(_WATCH_FRAMES)
            yield opened


async def first_view(bench: Bench) -> list[Row]:
    """The list of jobs from nothing: what came over the wire, and until its first row is there."""
    async with bench.profile() as opened:
        page = await opened.context.new_page()
        network = await opened.context.new_cdp_session(page)
        await network.send("Network.enable")
        urls: dict[str, str] = {}
        sizes: dict[str, int] = {}
        network.on(
            "Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]})
        )
        network.on(
            "Network.loadingFinished",
            lambda event: sizes.update({urls[event["requestId"]]: int(event["encodedDataLength"])}),
        )
        began = time.monotonic()
        await enter(opened, KEY, page=page)
        await rows(page).first.wait_for()
        shown = time.monotonic() - began
        page_bytes = sum(size for url, size in sizes.items() if "/v1/" not in url)
        api_bytes = sum(size for url, size in sizes.items() if "/v1/" in url)
    return [
        ("first view: page, style and scripts, headers with them", f"{page_bytes / 1000:.1f} kB", "60 kB"),
        (f"first view: answers of the API, {JOBS} jobs there", f"{api_bytes / 1000:.1f} kB", "–"),
        ("first view: until the first row is there", f"{shown:.2f} s", "1 s"),
    ]


async def live(bench: Bench) -> list[Row]:
    """All jobs in the list, ten changes a second, for 20 s."""
    async with bench.profile() as opened:
        page = await enter(opened, KEY)
        await show_all(page, JOBS)
        await page.evaluate("frames.length = 0, longTasks.length = 0")
        async with changing(bench):
            await asyncio.sleep(20)
        frames, tasks = await page.evaluate("[frames, longTasks]")
    what = f"{JOBS} live jobs, {CHANGES:.0f} changes/s:"
    return [
        (f"{what} frames, median", f"{median(frames):.0f} ms", "–"),
        (f"{what} frames, p95", f"{quantiles(frames, n=20)[18]:.0f} ms", "50 ms"),
        (f"{what} tasks over 50 ms in 20 s", f"{len(tasks)}, longest {max(tasks, default=0):.0f} ms", "–"),
    ]


async def curve(bench: Bench) -> list[Row]:
    """A job of 10,000 steps: from the metrics' last byte to the frame that shows them; then a step each 100 ms."""
    job = bench.jobs[0]
    await steps(bench.store, job, range(1, STEPS + 1), STEPS + 100)
    async with bench.profile() as opened:
        page = await enter(opened, KEY, f"/jobs/{job}")
        drawn = await page.evaluate(_DRAWN)
        await page.evaluate("frames.length = 0")
        for step in range(STEPS + 1, STEPS + 51):
            await steps(bench.store, job, [step], STEPS + 100)
            await asyncio.sleep(0.1)
        frames = await page.evaluate("frames")
        opened.forgive("status of 502")  # no upstream is there to be asked for checkpoints
    return [
        (f"{STEPS:,} steps: from the last byte to the picture", f"{drawn:.0f} ms", "100 ms"),
        (f"{STEPS:,} steps and one more each 100 ms: frames, p95", f"{quantiles(frames, n=20)[18]:.0f} ms", "–"),
    ]


async def tabs(bench: Bench) -> list[Row]:
    """20 tabs of one browser: the streams that they hold, and until a change is seen in all."""
    async with bench.profile() as opened:
        pages = [await enter(opened, KEY) for _ in range(TABS)]
        for page in pages:
            await live_sign(page).wait_for()
        streams = opened.count("GET /v1/events")
        began = time.monotonic()
        await ends(bench.store, bench.jobs[1])
        for page in pages:
            await row_of(page, bench.jobs[1]).filter(has_text=ENDED).wait_for()
        seen = time.monotonic() - began
    return [
        (f"{TABS} tabs: streams opened", str(streams), "1"),
        (f"{TABS} tabs: until all show a change", f"{seen:.2f} s", "–"),
    ]


async def cut(bench: Bench) -> list[Row]:
    """The service stops, jobs go on, it starts again: is every change there, without a reload?"""
    async with bench.profile() as opened:
        page = await enter(opened, KEY)
        await live_sign(page).wait_for()
        bench.place.service.stop()
        await cut_sign(page).wait_for()
        changed = bench.jobs[10:60]
        for job in changed:
            await ends(bench.store, job)
        bench.place.service.start()
        began = time.monotonic()
        for job in changed:
            await row_of(page, job).filter(has_text=ENDED).wait_for()
        caught_up = time.monotonic() - began
        reloads = opened.requests.count("GET /") - 1
        opened.forgive(r"net::ERR_|status of 50")
    return [
        (f"a restart: changes seen of {len(changed)} made meanwhile", str(len(changed)), str(len(changed))),
        ("a restart: reloads of the page", str(reloads), "0"),
        ("a restart: from its start to the last change", f"{caught_up:.1f} s", "–"),
    ]


async def heap(bench: Bench, minutes: float) -> list[Row]:
    """Live for so long, ten changes a second: what the heap has grown by after a collection."""
    async with bench.profile() as opened:
        page = await enter(opened, KEY)
        await show_all(page, JOBS)
        devtools = await opened.context.new_cdp_session(page)
        async with changing(bench):
            await asyncio.sleep(10)
            before = await _heap_bytes(devtools)
            await asyncio.sleep(minutes * 60)
            after = await _heap_bytes(devtools)
    return [
        (f"{minutes:g} minutes live: heap grown by", f"{(after - before) / 1e6:.1f} MB of {after / 1e6:.1f}", "5 MB")
    ]


async def _heap_bytes(devtools: CDPSession) -> int:
    await devtools.send("HeapProfiler.collectGarbage")
    return int((await devtools.send("Runtime.getHeapUsage"))["usedSize"])


@asynccontextmanager
async def changing(bench: Bench) -> AsyncIterator[None]:
    """Changes ten jobs a second meanwhile."""
    task = asyncio.create_task(at_a_rate(bench.store, bench.jobs[100:], CHANGES))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def measure(only: set[str], minutes: float) -> None:
    found: list[Row] = []
    expect.set_options(timeout=PATIENCE_MS)
    async with running() as bench:
        for name, part in PARTS.items():
            if name in only:
                rows_found = await part(bench)
                print(f"{name}:", *rows_found, sep="\n  ", flush=True)  # what is measured stays, if the rest fails
                found += rows_found
        if "heap" in only:
            found += await heap(bench, minutes)
    table("The page in Chromium", [("", "measured", "wanted"), *found])
    table("Machine", described())


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    """Yields the service with its jobs in training, and the browser."""
    with (
        tempfile.TemporaryDirectory() as directory,
        town(Path(directory), "http://127.0.0.1:9", workers=0, TUNEHOOK_PORT=str(free_port())) as place,
    ):
        store = Store.connect(place.valkey.url)
        try:
            async with aiohttp.ClientSession(headers=HEADERS) as session:
                jobs = await accepted(place.url, session, JOBS)
            for job in jobs:
                await trains(store, job)
            async with chromium_browser() as browser:
                yield Bench(place, store, browser, jobs)
        finally:
            await store.close()


PARTS: dict[str, Callable[[Bench], Awaitable[list[Row]]]] = {
    "first_view": first_view,
    "live": live,
    "curve": curve,
    "tabs": tabs,
    "cut": cut,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join([*PARTS, "heap"]))
    parser.add_argument("--minutes", type=float, default=3.0, help="of `heap` (30 is what the figure is for)")
    given = parser.parse_args()
    asyncio.run(measure(set(given.only.split(",")), given.minutes))


if __name__ == "__main__":
    main()
