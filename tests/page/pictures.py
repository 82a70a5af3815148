"""Takes the pictures of docs/: every view, light and dark, and on a phone. `python -m tests.page.pictures [DIRECTORY]`

The stack is a real one with the simulator behind it. A picture is reduced to 64 colours, which a page of words and
lines does not show, and must stay below 150 kB. Those in KEPT are what README and docs/page.md show; the others are
taken only where a directory is named, to be looked at.
"""

import asyncio
import io
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import aiohttp
from PIL import Image
from playwright.async_api import Browser

from tests.fakes.deployment import deployment
from tests.fakes.ports import free_port
from tests.fakes.serving import serving
from tests.page.browser import Scheme, chromium_browser, window
from tests.page.conftest import SIMULATORS
from tests.page.project import Project
from tests.page.scene import Scene, furnish, receiver
from tests.page.views import VIEWS, View, enter

KEPT_IN = Path(__file__).parents[2] / "docs" / "pictures"
#: name of the file → view, scheme.
KEPT: dict[str, tuple[str, Scheme]] = {
    "job-light.png": ("job, training", "light"),
    "job-dark.png": ("job, training", "dark"),
    "jobs-light.png": ("jobs", "light"),
    "new-light.png": ("new", "light"),
}
MOST_BYTES = 150_000
WIDE, PHONE = (1200, 800), (360, 740)


def smaller(picture: bytes) -> bytes:
    """Returns a PNG in 64 colours of its own. AssertionError if it is still larger than 150 kB."""
    target = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(64, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
    assert target.tell() <= MOST_BYTES, f"{target.tell()} bytes"
    return target.getvalue()


async def take(browser: Browser, scene: Scene, view: View, *, scheme: Scheme, phone: bool, whole: bool) -> bytes:
    """Returns a view as PNG; `whole`: to its lower end, not only what the window shows."""
    width, height = PHONE if phone else WIDE
    scale = 1.0 if whole else 1.5
    root = scene.project.url.removesuffix("/v1")
    async with window(browser, root, scheme=scheme, width=width, height=height, scale=scale) as opened:
        page = await enter(opened, scene.project.key, view.route(scene))
        await view.shown(page, scene)
        picture: bytes = await page.screenshot(full_page=whole, animations="disabled", caret="hide")
        return picture


async def take_all(directory: Path | None, views: Iterable[str]) -> None:
    """Takes the pictures that are kept, or those of all views into a directory."""
    with (
        tempfile.TemporaryDirectory() as place,
        deployment(
            Path(place),
            simulators=SIMULATORS,
            TUNEHOOK_PORT=str(free_port()),
        ) as town,
    ):
        async with aiohttp.ClientSession() as http, serving(receiver()) as receivers, chromium_browser() as browser:
            scene = await furnish(Project(town.url, await town.key("birdwatchers"), http), receivers)
            await scene.project.has_steps(scene.training, 250)
            if directory is None:
                for name, (view, scheme) in KEPT.items():
                    picture = await take(browser, scene, VIEWS[view], scheme=scheme, phone=False, whole=False)
                    (KEPT_IN / name).write_bytes(smaller(picture))
                return
            schemes: tuple[Scheme, ...] = ("light", "dark")
            for name in views:
                for scheme in schemes:
                    for phone in (False, True):
                        picture = await take(browser, scene, VIEWS[name], scheme=scheme, phone=phone, whole=True)
                        form = "phone" if phone else "wide"
                        (directory / f"{name.replace(', ', '-')}-{form}-{scheme}.png").write_bytes(picture)


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    (directory or KEPT_IN).mkdir(parents=True, exist_ok=True)
    asyncio.run(take_all(directory, sys.argv[2:] or VIEWS))


if __name__ == "__main__":
    main()
