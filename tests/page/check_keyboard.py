"""The page by keyboard alone: the letters, Enter and the arrows. What Tab reaches is in check_views.py."""

import re

import pytest
from playwright.async_api import expect

from tests.page.conftest import Stack
from tests.page.scene import Scene
from tests.page.views import row_of

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_from_the_key_to_a_job_and_back(stack: Stack, scene: Scene) -> None:
    """No click: the key, the list by j and Enter, the curve by arrows, the views by g and a letter, help by ?."""
    async with stack.window() as window:
        page = await window.tab()
        await expect(page.get_by_label("API key")).to_be_focused()
        await page.keyboard.type(scene.project.key)
        await page.keyboard.press("Enter")
        await row_of(page, scene.succeeded).wait_for()
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        title = page.get_by_role("heading", level=1)
        await page.wait_for_url(re.compile(r"#/jobs/ftjob-"))
        await expect(title).to_be_focused()
        for letter, word in {"n": "New", "w": "Webhooks", "j": "Jobs"}.items():
            await page.keyboard.press("g")
            await page.keyboard.press(letter)
            await expect(title).to_contain_text(word)
            await expect(title).to_be_focused()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
