"""Every view: axe finds nothing in light, in dark and at 360 px, where nothing sticks out at the side."""

import pytest

from tests.page.browser import findings, overflow
from tests.page.conftest import Stack
from tests.page.scene import Scene
from tests.page.views import VIEWS, enter

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize("name", VIEWS)
async def test_everybody_can_use_it(stack: Stack, scene: Scene, name: str) -> None:
    view, found = VIEWS[name], dict[str, list[str]]()
    async with stack.window() as window:
        page = await enter(window, scene.project.key, view.route(scene))
        await view.shown(page, scene)
        found["light"] = await findings(page)
        await page.emulate_media(color_scheme="dark")
        found["dark"] = await findings(page, colours_only=True)
        await page.set_viewport_size({"width": 360, "height": 740})
        await view.shown(page, scene)
        found["360 px"] = await findings(page)
        found["sticks out at 360 px"] = await overflow(page)
    assert {form: what for form, what in found.items() if what} == {}
