"""Every view: axe finds nothing in light, in dark and at 360 px, where nothing sticks out at the side.

Tab reaches all that can be used, the focus is seen, and nothing holds it.
"""

import pytest
from playwright.async_api import Page

from tests.page.browser import findings, overflow
from tests.page.conftest import Stack
from tests.page.scene import Scene
from tests.page.views import VIEWS, enter

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
    for number in left:  # but for what is no longer there
        for text in await page.locator(f'[data-usable="{number}"]').evaluate_all(
            "all => all.map(one => one.outerHTML.slice(0, 120))"
        ):
            wrong[number] = f"not reached: {text}"
    return list(wrong.values())


@pytest.mark.parametrize("name", VIEWS)
async def test_everybody_can_use_it(stack: Stack, scene: Scene, name: str) -> None:
    view, found = VIEWS[name], dict[str, list[str]]()
    async with stack.window() as window:
        page = await enter(window, scene.project.key, view.route(scene))
        await view.shown(page, scene)
        found["keyboard"] = await unreached(page)
        found["light"] = await findings(page)
        await page.emulate_media(color_scheme="dark")
        found["dark"] = await findings(page, colours_only=True)
        await page.set_viewport_size({"width": 360, "height": 740})
        await view.shown(page, scene)
        found["360 px"] = await findings(page)
        found["sticks out at 360 px"] = await overflow(page)
    assert {form: what for form, what in found.items() if what} == {}
