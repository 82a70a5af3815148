"""The page moves by itself: no polling, one stream for all tabs, a cut is told and made good."""

import pytest
from playwright.async_api import expect

from tests.page.below import below
from tests.page.conftest import Stack
from tests.page.scene import many_jobs
from tests.page.views import cut_sign, enter, live_sign, row_of, rows, show_all

pytestmark = pytest.mark.asyncio(loop_scope="session")
#: Long enough that a page that polls would have asked.
IDLE_SECONDS = 6.0


async def test_a_page_without_news_asks_for_nothing(stack: Stack) -> None:
    project = await stack.project()
    job = await project.job()
    await project.ended(job)
    async with stack.window() as window:
        page = await enter(window, project.key)
        await row_of(page, job).wait_for()
        await page.goto(page.url.replace("#/jobs", f"#/jobs/{job}"))
        await page.locator("canvas").first.wait_for()
        await window.quiet(IDLE_SECONDS)


async def test_tabs_share_one_stream_and_the_next_takes_over(stack: Stack) -> None:
    project = await stack.project()
    async with stack.window() as window:
        first = await enter(window, project.key)
        second = await enter(window, project.key)
        for page in (first, second):
            await live_sign(page).wait_for()
        job = await project.job()
        for page in (first, second):
            await expect(row_of(page, job)).to_contain_text("succeeded")
        await window.has_one_stream()
        await first.close()
        later = await project.job()
        await expect(row_of(second, later)).to_contain_text("succeeded")
        await window.has_one_stream()


async def test_tabs_with_other_keys_see_nothing_of_each_other(stack: Stack) -> None:
    one, other = await stack.project(), await stack.project()
    async with stack.window() as window:
        mine, theirs = await enter(window, one.key), await enter(window, other.key)
        job, foreign = await one.job(), await other.job()
        await expect(row_of(mine, job)).to_contain_text("succeeded")
        await expect(row_of(theirs, foreign)).to_contain_text("succeeded")
        for page in (mine, theirs):
            await expect(rows(page)).to_have_count(1)
        await theirs.goto(f"{stack.root}/#/jobs/{job}")
        await expect(theirs.get_by_role("main")).to_contain_text("Not found")
        window.forgive(r"status of 404")


async def test_a_restart_of_the_api_is_told_and_made_good(stack: Stack) -> None:
    project = await stack.project()
    before = await project.job()
    async with stack.window() as window:
        page = await enter(window, project.key)
        await expect(row_of(page, before)).to_contain_text("succeeded")
        running = await project.job(upstream="openai")
        await expect(row_of(page, running)).to_contain_text("training")
        shown = window.requests.count("GET /")
        stack.town.service.stop()
        await cut_sign(page).wait_for()
        await expect(row_of(page, before)).to_contain_text("succeeded")  # what it showed stays
        await stack.simulator().advance(600)
        stack.town.service.start()
        await expect(row_of(page, running)).to_contain_text("succeeded")
        assert window.requests.count("GET /") == shown
        window.forgive(r"net::ERR_|status of 50")


async def test_a_list_of_more_than_a_hundred_goes_on(stack: Stack) -> None:
    project = await stack.project()
    await many_jobs(project, 130)
    async with stack.window() as window:
        page = await enter(window, project.key)
        await rows(page).nth(20).wait_for()
        await show_all(page, 130)
        await expect(rows(page)).to_have_count(130)
        oldest = rows(page).last
        await oldest.get_by_role("checkbox").check()
        await oldest.get_by_role("link").first.click()
        await page.wait_for_url("**/#/jobs/ftjob-*")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("cancelled")
        await page.go_back()
        await expect(oldest).to_be_in_viewport()
        await expect(rows(page)).to_have_count(130)
        await expect(oldest.get_by_role("checkbox")).to_be_checked()
        await page.set_viewport_size({"width": 360, "height": 740})  # a row is five times as high
        for place, near in {"0": 100, "document.documentElement.scrollHeight": 30}.items():
            await page.evaluate(f"scrollTo(0, {place})")
            await expect(rows(page)).to_have_count(near)  # what is far away is a space as high


async def test_below_a_path(stack: Stack) -> None:
    project = await stack.project()
    job = await project.job()
    await project.ended(job)
    async with below("/team/tune", stack.root) as root, stack.window(root=root) as window:
        page = await enter(window, project.key)
        await row_of(page, job).get_by_role("link").first.click()
        await page.locator("canvas").first.wait_for()
