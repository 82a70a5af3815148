"""Thousands of models, of which a list draws some, a form has some, and both find any; a thousand endpoints."""

import asyncio
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.page.browser import findings, overflow
from tests.page.check_views import unreached
from tests.page.conftest import Stack
from tests.page.project import MODEL, Project
from tests.page.views import enter, rows
from tunehook.model.job import TunedModel
from tunehook.store.engine import keys
from tunehook.store.store import Store

pytestmark = pytest.mark.asyncio(loop_scope="session")
MANY = 4000
ELEMENTS = "document.querySelectorAll('*').length"


def name_of(number: int) -> str:
    return f"ft:{MODEL}:acme:birds:{number:05}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tuner(stack: Stack) -> Project:
    """A project that has tuned so many models, the newest with the highest number."""
    project = await stack.project()
    owner = project.caller.project
    made = [
        TunedModel(name=name_of(number), upstream="openai", base=MODEL, job_id="ftjob-1", created_at=10**9 + number)
        for number in range(MANY)
    ]
    store = Store.connect(stack.town.valkey.url)
    try:
        await store.redis.hset(keys.MODEL_OWNERS, mapping=dict.fromkeys((one.name for one in made), owner))
        await store.redis.hset(keys.models(owner), mapping={one.name: one.model_dump_json() for one in made})
        await store.redis.zadd(keys.models_by_age(owner), {one.name: -one.created_at for one in made})
    finally:
        await store.close()
    return project


async def test_the_list_draws_some_and_finds_all(stack: Stack, tuner: Project) -> None:
    async with stack.window() as window:
        page = await enter(window, tuner.key, "/models")
        await expect(page.get_by_role("link", name=f"Tuned here {MANY:,}")).to_be_visible()
        await expect(rows(page)).to_have_count(100)
        await expect(rows(page).first).to_contain_text(name_of(MANY - 1))
        assert await page.evaluate(ELEMENTS) < 3000
        await rows(page).last.scroll_into_view_if_needed()
        await expect(page.get_by_text(name_of(MANY - 200))).to_be_attached()
        await page.keyboard.press("/")
        await page.keyboard.type("Birds:00042")
        await expect(rows(page)).to_have_count(1)
        assert page.url.endswith("#/models?q=Birds%3A00042")
        assert await findings(page) == []
        await page.reload()
        await expect(rows(page)).to_contain_text([name_of(42)])
        await page.get_by_role("searchbox").fill("owls")
        await expect(page.get_by_role("main")).to_contain_text("No name of these models contains “owls”.")
        await page.get_by_role("link", name="All of them").click()
        await expect(rows(page)).to_have_count(100)
        await page.get_by_role("link", name="Base models").click()
        await expect(page.get_by_role("link", name="Train it").first).to_be_visible()


@pytest.mark.parametrize(("route", "label"), [("/new", "Model"), ("/try", "Tuned model")])
async def test_a_form_lists_some_hundred_and_finds_all(stack: Stack, tuner: Project, route: str, label: str) -> None:
    oldest, wanted = name_of(0), name_of(1234)
    async with stack.window() as window:
        page = await enter(window, tuner.key, f"{route}?model={oldest}")
        select = page.get_by_role("combobox", name=re.compile(f"^{label}"))
        options = select.locator("option")
        await expect(page.get_by_text(re.compile(r"\d+ of 4,0\d\d models are listed below"))).to_be_visible()
        await expect(select).to_have_value(oldest)
        assert 100 < await options.count() <= 201
        find = page.get_by_label(f"Find a {label.lower()} by name")
        await find.fill(" Birds:01234")
        await expect(options).to_have_count(2)  # with the one that is chosen
        await expect(select).to_have_value(oldest)
        await select.select_option(wanted)
        await expect(options).to_have_count(1)
        await find.fill("no such name")
        await expect(select).to_have_value(wanted)
        assert await unreached(page) == []
        assert await findings(page) == []
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await overflow(page) == []


async def test_any_of_a_thousand_endpoints_is_there_and_shows_its_deliveries(stack: Stack) -> None:
    project, gate = await stack.project(), asyncio.Semaphore(8)

    async def _made(number: int) -> None:
        body = {"name": f"n{number}", "url": f"{stack.root}/{number}", "event_types": ["fine_tuning.job.succeeded"]}
        async with gate:
            await project.call("POST", "/webhook_endpoints", body)

    await _made(0)
    await asyncio.gather(*(_made(number) for number in range(1, 1010)))
    async with stack.window() as window:
        page = await enter(window, project.key, "/webhooks")
        await expect(rows(page)).to_have_count(1010)
        await page.get_by_role("link", name="n0", exact=True).click()
        heading = page.get_by_role("heading", name="Sent to n0")
        await expect(heading).to_be_focused()
        await expect(heading).to_be_in_viewport()
        await page.get_by_text("Actions on n0", exact=True).click()
        await expect(page.get_by_role("button", name="Rotate secret")).to_have_count(1)
