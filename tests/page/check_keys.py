"""Keys: asked for once a tab, refused in words; one that may only read suffices for looking."""

import re

import pytest
from playwright.async_api import expect

from tests.page.conftest import BOOTSTRAP_KEY, Stack
from tests.page.scene import Scene
from tests.page.views import VIEWS, enter, live_sign

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_wrong_key_is_refused_and_another_taken(stack: Stack) -> None:
    async with stack.window() as window:
        page = await window.tab()
        field = page.get_by_label("API key")
        await field.fill("th_000000000000_" + "x" * 43)
        await page.keyboard.press("Enter")
        await expect(page.locator("body")).to_contain_text("Incorrect API key")
        await field.fill(BOOTSTRAP_KEY)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        await page.reload()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        await expect(page).not_to_have_url(re.compile(BOOTSTRAP_KEY))
        other = await window.tab()
        await expect(other.get_by_label("API key")).to_be_visible()
        window.forgive(r"status of 401")
    assert not [one for one in window.requests if BOOTSTRAP_KEY in one]


async def test_a_key_that_may_only_read_sees_every_view(stack: Stack, scene: Scene) -> None:
    key = await stack.read_only(scene.project.caller.project)
    async with stack.window() as window:
        page = await enter(window, key)
        for view in VIEWS.values():
            await page.goto(f"{window.root}/#{view.route(scene)}")
            await view.shown(page, scene)
        asks = ("GET ", "POST /v1/fine_tuning/jobs/estimate")  # which `read` allows
        assert [one for one in window.requests if not one.startswith(asks)] == []


async def test_a_key_that_is_revoked_is_asked_for_again_and_what_was_typed_stays(stack: Stack) -> None:
    project = await stack.project()
    other = (await stack.town.key(project.caller.project)).key
    async with stack.window() as window:
        window.forgive(r"status of 401")
        page = await enter(window, project.key, "/new")
        await live_sign(page).wait_for()
        name = page.get_by_label("Name")
        await name.fill("half a na")
        await stack.revoke(project.key)
        asked = page.get_by_role("dialog")
        await expect(asked).to_contain_text("The key of this tab is refused")  # once its stream has ended
        await expect(asked).to_contain_text("Incorrect API key")
        for _ in range(2):
            await page.keyboard.press("Escape")
        field = asked.get_by_label("API key")
        await field.fill(project.key)
        await page.keyboard.press("Enter")
        await expect(asked.get_by_role("alert")).to_contain_text("Incorrect API key")
        await window.quiet()  # it asks once, and not again and again
        await field.fill(other)
        await page.keyboard.press("Enter")
        await expect(asked).to_have_count(0)
        await expect(name).to_be_focused()
        await page.keyboard.type("me")
        await expect(name).to_have_value("half a name")
        await live_sign(page).wait_for()
        await stack.revoke(other)
        await field.fill((await stack.project()).key)
        await page.keyboard.press("Enter")
        await expect(name).to_have_value("")  # another project's form


async def test_a_browser_that_keeps_nothing_shows_the_page_all_the_same(stack: Stack) -> None:
    project = await stack.project()
    async with stack.window() as window:
        await window.context.add_init_script(
            """for (const kind of ["localStorage", "sessionStorage"])
                 Object.defineProperty(window, kind, {get() { throw new DOMException("no", "SecurityError") }})"""
        )
        page = await enter(window, project.key)
        await expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
