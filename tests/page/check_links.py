"""What a link or a key in the address may not do, and answers that come late or twice."""

import asyncio
import re

import pytest
from playwright.async_api import Dialog, Route, expect

from tests.page.browser import overflow
from tests.page.conftest import Stack
from tests.page.scene import Scene
from tests.page.views import enter, live_sign, row_of, rows

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_another_key_in_the_same_tab_begins_anew(stack: Stack) -> None:
    one, other = await stack.project(), await stack.project()
    async with stack.window() as window:
        page = await enter(window, one.key, "/new")
        await page.get_by_label("Name").fill("of-the-first")
        await enter(window, other.key, "/new", page=page)
        await expect(page.locator("footer")).to_contain_text(other.caller.project)
        await expect(page.get_by_label("Name")).to_have_value("")


async def test_a_key_that_is_cut_does_not_leave_the_one_before_in_use(stack: Stack) -> None:
    project = await stack.project()
    async with stack.window() as window:
        page = await enter(window, project.key)
        await live_sign(page).wait_for()
        await page.goto(f"{window.root}/#key={project.key[:-3]}&to=/jobs")
        await expect(page.get_by_role("alert")).to_contain_text("cut or misspelt")
        await expect(page).not_to_have_url(re.compile("key="))


async def test_an_id_in_a_link_leads_nowhere_else(stack: Stack) -> None:
    project = await stack.project()
    async with stack.window() as window:
        page = await enter(window, project.key, "/jobs/..%2F..%2F..%2Fdocs")
        await expect(page.get_by_role("main")).to_contain_text("The API has no such address")
        assert not window.count("GET /docs")


async def test_a_late_answer_to_an_older_search_changes_nothing(stack: Stack) -> None:
    project = await stack.project()
    job = await project.job(metadata={"order": "second"})
    await project.ended(job)
    async with stack.window() as window:
        page = await enter(window, project.key)
        await row_of(page, job).wait_for()
        held = asyncio.Event()

        async def _hold(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route("**/v1/fine_tuning/jobs?*q=first*", _hold)
        field = page.get_by_role("searchbox")
        async with page.expect_response("**/v1/fine_tuning/jobs?*q=first*") as late:
            async with page.expect_request("**/v1/fine_tuning/jobs?*q=first*"):
                await field.fill("first")
            await field.fill("second")
            await row_of(page, job).wait_for()
            held.set()
        await (await late.value).finished()
        await row_of(page, job).get_by_role("checkbox").check()  # the view draws itself again
        await expect(row_of(page, job)).to_be_visible()


#: A minute later, longer than a stream is silent. Playwright's clock is of all tabs, and one of them does not answer.
_LATER = "() => { const now = Date.now; Date.now = () => now() + 60_000 }"


def _leave_open(dialog: Dialog) -> None:
    """Playwright closes a dialog that nothing listens for."""


async def test_a_tab_that_stands_still_gives_the_stream_up(stack: Stack) -> None:
    """A browser freezes tabs that are not looked at. Here the tab that reads for all stands still at an alert."""
    project = await stack.project()
    async with stack.window() as window:
        first = await enter(window, project.key)
        await live_sign(first).wait_for()
        second = await enter(window, project.key)
        await live_sign(second).wait_for()
        async with first.expect_event("dialog") as opened:
            first.on("dialog", _leave_open)
            await first.evaluate("() => { setTimeout(() => alert('stop')) }")
        dialog: Dialog = await opened.value
        await second.evaluate(_LATER)
        job = await project.job()
        await expect(row_of(second, job)).to_contain_text("succeeded")
        await dialog.accept()
        await expect(row_of(first, job)).to_contain_text("succeeded")
        later = await project.job()
        for page in (first, second):
            await expect(row_of(page, later)).to_contain_text("succeeded")
        await window.has_one_stream()


async def test_long_and_foreign_names_stay_in_the_window(stack: Stack, scene: Scene) -> None:
    project = await stack.project()
    name = "w" * 64
    file = await project.file(name="ש" * 60 + ".jsonl")
    job = await project.job(file=file, suffix=name, metadata={"名前": "鳥" * 200, "x" * 64: "y" * 300})
    await project.ended(job)
    other = await project.job(file=file)
    await project.ended(other)
    async with stack.window(width=1200) as window:
        for key, route in (
            (scene.project.key, "/jobs"),
            (project.key, "/jobs"),
            (project.key, f"/jobs/{job}"),
            (project.key, "/models"),
            (project.key, f"/new?from={job}"),
            (project.key, f"/compare?jobs={other}"),
        ):
            page = await enter(window, key, route)
            await live_sign(page).wait_for()
            await window.quiet(1.0)
            assert await overflow(page) == [], route
            await page.set_viewport_size({"width": 360, "height": 740})
            assert await overflow(page) == [], f"{route} on a phone"
            await page.close()


async def test_two_quick_clicks_train_a_models_data_again_once(stack: Stack) -> None:
    project = await stack.project()
    await project.ended(await project.job())
    async with stack.window() as window:
        page = await enter(window, project.key, "/models")
        await page.get_by_role("button", name="Retrain").click()
        await expect(page.get_by_role("dialog").get_by_role("button").first).to_be_enabled()
        async with page.expect_response("**/retrain"):  # what would happen there
            await page.get_by_label("Upstream").select_option("openai")
        await expect(page.get_by_role("dialog")).to_contain_text("A new job")
        await page.get_by_role("button", name="Train", exact=True).evaluate("one => { one.click(); one.click() }")
        await page.wait_for_url("**/#/jobs/ftjob-*")
        await enter(window, project.key, page=page)
        await expect(rows(page)).to_have_count(2)


async def test_two_quick_clicks_rotate_a_secret_once(stack: Stack) -> None:
    project = await stack.project()
    body = {"name": "one", "url": "pull:one", "event_types": ["fine_tuning.job.succeeded"]}
    await project.call("POST", "/webhook_endpoints", body)
    async with stack.window() as window:
        page = await enter(window, project.key, "/webhooks")
        await page.get_by_text("Actions on one").click()
        await page.get_by_role("button", name="Rotate secret").click()
        await page.get_by_role("button", name="Rotate", exact=True).evaluate("one => { one.click(); one.click() }")
        await expect(page.get_by_role("dialog").get_by_text("whsec_")).to_be_visible()
        await window.quiet()
        assert sum(one.endswith("/rotate_secret") for one in window.requests) == 1
