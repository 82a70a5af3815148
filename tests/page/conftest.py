"""One deployment and one Chromium for all tests of the page. Run by `make page-test`."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.fakes.deployment import Deployment, deployment
from tests.fakes.ports import free_port
from tests.fakes.serving import serving
from tests.fakes.simulator import Simulator
from tests.page.browser import PATIENCE_MS, Scheme, Window, chromium_browser, window
from tests.page.project import Project
from tests.page.scene import Scene, furnish, receiver
from tunehook import api_keys
from tunehook.model.api_key import Scope
from tunehook.store.store import Store

#: A small job trains for half a minute at `openai`, to be watched, and half a second at `fast`. At `full` jobs wait:
#: all of an upstream's do, once it has said that its slots are taken.
SIMULATORS = {
    "openai": ("--speed", "10", "--slots", "0"),
    "fast": ("--speed", "900", "--slots", "0"),
    "full": ("--speed", "900", "--slots", "3"),
}
#: Operators choose its id themselves: it need not be one of ours.
BOOTSTRAP_KEY = "th_operator_" + "s" * 43


@dataclass
class Stack:
    """The running programs, and a browser to look at them."""

    town: Deployment
    browser: Browser
    http: aiohttp.ClientSession

    @property
    def root(self) -> str:
        return self.town.url.removesuffix("/v1")

    def window(
        self, *, root: str = "", scheme: Scheme = "light", width: int = 1280, height: int = 900
    ) -> AbstractAsyncContextManager[Window]:
        """A fresh browser profile; `root`: where the page lies, if not at the service itself."""
        return window(self.browser, root or self.root, scheme=scheme, width=width, height=height)

    def simulator(self, name: str = "openai") -> Simulator:
        return Simulator(self.town.simulators[name], self.http)

    async def read_only(self, project: str) -> str:
        """Returns a key of a project that may only look."""
        return (await self.town.key(project, scopes=[Scope.READ])).key

    async def revoke(self, key: str) -> None:
        store = Store.connect(self.town.valkey.url)
        try:
            await api_keys.revoke(store, key)
        finally:
            await store.close()

    async def project(self) -> Project:
        """Returns a new project."""
        return Project(self.town.url, await self.town.key(f"page-{secrets.token_hex(4)}"), self.http)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The service keeps its port, so that it can be started again under the page's eyes."""
    with deployment(
        tmp_path_factory.mktemp("page"),
        simulators=SIMULATORS,
        TUNEHOOK_BOOTSTRAP_KEY=BOOTSTRAP_KEY,
        TUNEHOOK_PORT=str(free_port()),
    ) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(town: Deployment) -> AsyncIterator[Stack]:
    expect.set_options(timeout=PATIENCE_MS)
    async with chromium_browser() as browser, aiohttp.ClientSession() as http:
        yield Stack(town, browser, http)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def scene(stack: Stack) -> AsyncIterator[Scene]:
    async with serving(receiver()) as receivers:
        yield await furnish(await stack.project(), receivers)
