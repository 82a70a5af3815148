"""The views of the page: where each lies, and how a test knows that it is there."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from playwright.async_api import Locator, Page, expect

from tests.page.browser import PATIENCE_MS, Window
from tests.page.scene import Scene


@dataclass(frozen=True)
class View:
    route: Callable[[Scene], str]  #: behind the `#`
    shown: Callable[[Page, Scene], Awaitable[None]]  #: returns once all that the view loads is there


async def enter(window: Window, key: str, route: str = "/jobs", *, page: Page | None = None) -> Page:
    """Opens a view in a new tab, with a key in its address as `tunehook open` prints it."""
    page = page or await window.context.new_page()
    await page.goto(f"{window.root}/#key={key}&to={quote(route)}")
    heading = page.get_by_role("heading", level=1)
    await expect(heading.or_(page.get_by_text("This takes long."))).to_be_visible()
    if any("ERR_NETWORK_CHANGED" in one for one in window.complaints()):  # a container on this machine came or went
        window.forgive("ERR_NETWORK_CHANGED")
        await page.reload()
    await expect(heading).to_be_visible()
    return page


def row_of(page: Page, job_id: str) -> Locator:
    """The row of a job in the list."""
    return page.locator("tr[data-row]").filter(has=page.locator(f'a[href*="{job_id}"]'))


def rows(page: Page) -> Locator:
    """All rows of the list of jobs, without its head."""
    return page.locator("main tr[data-row]")


def live_sign(page: Page) -> Locator:
    """What says that the page is live."""
    return page.locator("footer").get_by_text(re.compile("^●? ?live$"))


def cut_sign(page: Page) -> Locator:
    """What says that it is cut off, and since when."""
    return page.get_by_text(re.compile(r"Cut off since \d\d:\d\d"))


async def show_all(page: Page, count: int) -> None:
    """Goes on in the list of jobs until so many are there: the next hundred come when the end is in sight."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while (shown := await rows(page).count()) < count:
            await rows(page).last.scroll_into_view_if_needed()
            await expect(rows(page)).not_to_have_count(shown)


def _has(text: str) -> Callable[[Page, Scene], Awaitable[None]]:
    async def _shown(page: Page, scene: Scene) -> None:
        await expect(page.locator("main")).to_contain_text(text)

    return _shown


async def _job(page: Page, scene: Scene) -> None:
    await page.locator("canvas").first.wait_for()


async def _jobs(page: Page, scene: Scene) -> None:
    for job in (scene.succeeded, scene.failed, scene.waiting, scene.training):
        await row_of(page, job).wait_for()


VIEWS = {
    "jobs": View(lambda scene: "/jobs", _jobs),
    "jobs, none fits": View(lambda scene: "/jobs?q=nothing-is-called-so", _has("nothing-is-called-so")),
    "job, succeeded": View(lambda scene: f"/jobs/{scene.succeeded}", _job),
    "job, failed": View(lambda scene: f"/jobs/{scene.failed}", _job),
    "job, waiting": View(lambda scene: f"/jobs/{scene.waiting}", _has("maximum number of concurrent")),
    "job, training": View(lambda scene: f"/jobs/{scene.training}", _job),
    "compare": View(lambda scene: f"/compare?jobs={scene.succeeded},{scene.failed}", _job),
    "new": View(lambda scene: f"/new?training={scene.good_file}", _has("✓ no errors")),
    "try": View(lambda scene: f"/try?model={scene.model}", _has("Base model")),
    "datasets": View(lambda scene: "/datasets", _has("answers.jsonl")),
    "report": View(lambda scene: f"/datasets/{scene.bad_file}", _has("Show line")),
    "webhooks": View(lambda scene: "/webhooks", _has("production")),
    "models": View(lambda scene: "/models", _has(":birds:")),
}
