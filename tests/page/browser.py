"""Chromium as the tests use it: every tab is watched for messages, requests elsewhere and broken policies."""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.page import chromium

#: How long a test waits for a state, in milliseconds: the machine may be busy.
PATIENCE_MS = 60_000
Scheme = Literal["light", "dark"]

# A violation is a line in the console of its own as well; these say which directive, and cannot be silenced.
_REPORT_VIOLATIONS = """
addEventListener("securitypolicyviolation", event =>
  console.error(`policy broken: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`))
"""
#: WCAG 2.2 AA, and the habits that axe calls best practice.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@asynccontextmanager
async def chromium_browser() -> AsyncIterator[Browser]:
    """Yields a headless Chromium that reaches this machine alone: other names do not resolve."""
    path = chromium.find()
    assert path is not None, chromium.MISSING.format(names=", ".join(chromium.NAMES))
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--disable-component-update"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium's sandbox refuses root
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=arguments, timeout=2 * PATIENCE_MS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Window:
    """One browser profile: its tabs share storage, locks and channels. All that its tabs do is noted here."""

    root: str  #: where the page lies, without a slash at the end
    context: BrowserContext
    forgiven: list[str] = field(default_factory=list)  #: patterns of messages that are expected
    requests: list[str] = field(default_factory=list)  #: "GET /v1/files", below the root
    elsewhere: list[str] = field(default_factory=list)  #: requests to any other place
    console: list[str] = field(default_factory=list)
    _streams: dict[Request, Page] = field(default_factory=dict)

    async def tab(self, fragment: str = "") -> Page:
        """Opens the page in a new tab."""
        page = await self.context.new_page()
        await page.goto(f"{self.root}/{fragment}")
        return page

    def watch(self, page: Page) -> None:
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

    def note_request(self, request: Request) -> None:
        if request.url.startswith(self.root + "/"):
            path = urlsplit(request.url.removeprefix(self.root))
            self.requests.append(f"{request.method} {path.path}" + (f"?{path.query}" if path.query else ""))
            if path.path == "/v1/events":
                self._streams[request] = request.frame.page
        elif not request.url.startswith(("data:", "blob:")):
            self.elsewhere.append(f"{request.method} {request.url}")

    def note_end(self, request: Request) -> None:
        self._streams.pop(request, None)

    def count(self, start: str) -> int:
        """Returns how many requests began with this so far: `GET /v1/events`."""
        return sum(one.startswith(start) for one in self.requests)

    async def quiet(self, seconds: float = 3.0) -> None:
        """Returns once no tab has asked for anything for so long. TimeoutError where one goes on asking."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            seen = -1
            while seen != len(self.requests):
                seen = len(self.requests)
                await asyncio.sleep(seconds)

    async def has_one_stream(self) -> None:
        """Returns once one live stream is open: it is opened anew when other logs are wanted. TimeoutError."""
        async with asyncio.timeout(PATIENCE_MS / 1000):
            while sum(not page.is_closed() for page in self._streams.values()) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

    def forgive(self, pattern: str) -> None:
        """Expects messages that the test has brought about, or will: a failed request is one."""
        self.forgiven.append(pattern)

    def complaints(self) -> list[str]:
        """Returns the messages of the console that no test expects."""
        return [one for one in self.console if not any(re.search(pattern, one) for pattern in self.forgiven)]

    def _note_message(self, message: ConsoleMessage) -> None:
        place = message.location
        if "status of 503" in message.text:
            return  # the store of a busy machine answers late; the page reads again
        self.console.append(f"{message.type}: {message.text} ({place['url']}:{place['lineNumber']})")


@asynccontextmanager
async def window(
    browser: Browser, root: str, *, scheme: Scheme = "light", width: int = 1280, height: int = 900, scale: float = 1
) -> AsyncIterator[Window]:
    """Yields a fresh profile. Raises AssertionError at its end if a tab wrote to the console or asked elsewhere."""
    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="UTC",
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(PATIENCE_MS)
    opened = Window(root, context)
    context.on("page", opened.watch)
    context.on("request", opened.note_request)
    context.on("requestfinished", opened.note_end)
    context.on("requestfailed", opened.note_end)
    await context.add_init_script(_REPORT_VIOLATIONS)
    try:
        yield opened
    finally:
        await context.close()
    assert opened.complaints() == [], "the console is not empty:\n" + "\n".join(opened.complaints())
    assert opened.elsewhere == [], "requests left this machine:\n" + "\n".join(opened.elsewhere)


async def findings(page: Page, *, colours_only: bool = False) -> list[str]:
    """Returns what axe finds in the page as it is: rule, element, and what to do."""
    if not await page.evaluate('typeof axe === "object"'):
        await page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"], "runOnly": ["color-contrast"] if colours_only else _RULES}
    found = json.loads(await page.evaluate(f"axe.run({json.dumps(options)}).then(JSON.stringify)"))
    return [
        f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


async def overflow(page: Page) -> list[str]:
    """Returns the elements that stick out at the right, where the whole page scrolls sideways; else nothing.

    Waits until nothing does: what is drawn behind a change of the window takes a busy machine some frames.
    """
    until = time.monotonic() + PATIENCE_MS / 1000
    while (found := await _sticking_out(page)) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return found


async def _sticking_out(page: Page) -> list[str]:
    found: list[str] = await page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
          .filter(one => one.getBoundingClientRect().right > innerWidth + 1).slice(0, 8)
          .map(one => `${one.tagName.toLowerCase()}.${one.className}: ${one.textContent.slice(0, 40)}`)"""
    )
    return found
