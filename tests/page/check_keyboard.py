"""Every view by keyboard alone: Tab reaches all that can be used, the focus is seen, and nothing holds it."""

import re

import pytest
from playwright.async_api import Page, expect

from tests.page.conftest import Stack
from tests.page.scene import Scene
from tests.page.views import VIEWS, enter, row_of

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOST_TABS = 400

# Of radio buttons with one name, Tab reaches one. What lies in a closed `details` or is disabled cannot be used.
# A field for a time shows the focus at its parts, which no script sees.
_USABLE = """() => {
  const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
    .filter(one => !one.disabled && one.type !== "hidden" && one.checkVisibility({visibilityProperty: true}))
    .filter(one => !(one.type === "radio" && !one.checked))
  all.forEach((one, at) => one.dataset.usable = at)
  document.activeElement.blur()
  return all.length
}"""
_FOCUSED = """() => {
  const one = document.activeElement, style = getComputedStyle(one)
  const seen = one.type === "datetime-local" || style.outlineStyle !== "none" || style.boxShadow !== "none"
  return [one.dataset.usable ?? null, seen, (one.outerHTML ?? "").slice(0, 120)]
}"""


async def unreached(page: Page) -> list[str]:
    """Returns what Tab does not reach, and what it reaches without a visible focus."""
    usable, wrong = await page.evaluate(_USABLE), dict[str, str]()
    left = {str(number) for number in range(usable)}
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        number, seen, text = await page.evaluate(_FOCUSED)
        if number is not None and not seen:
            wrong[number] = f"no visible focus: {text}"
        left.discard(number)
        if not left:
            break
    for number in left:
        wrong[number] = "not reached: " + await page.locator(f'[data-usable="{number}"]').evaluate(
            "one => one.outerHTML.slice(0, 120)"
        )
    return list(wrong.values())


@pytest.mark.parametrize("name", VIEWS)
async def test_tab_reaches_all_that_can_be_used(stack: Stack, scene: Scene, name: str) -> None:
    view = VIEWS[name]
    async with stack.window() as window:
        page = await enter(window, scene.project.key, view.route(scene))
        await view.shown(page, scene)
        assert await unreached(page) == []


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
