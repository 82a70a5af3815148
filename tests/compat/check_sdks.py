"""Both official SDKs, every call; docs/compatibility.md is written from what came of them."""

import asyncio
import json
import re
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import openai

from tests.compat import node
from tests.compat.python_calls import Calls, names_in
from tests.contract.checker import CheckedTransport
from tests.e2e.surface.conftest import Visitor
from tests.e2e.surface.test_upstream_side import post_event
from tests.fakes.receiver import running_receiver

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
WHY = {
    "fine_tuning.checkpoints.permissions": "Use OpenAI's own dashboard.",
    "chat.completions": "Chats are passed through, not stored.",
    "responses": "Responses are passed through, not stored.",
}


async def test_every_call_of_both_sdks(visitor: Visitor) -> None:
    """A stale page is written anew, and fails once: read what changed and commit it."""
    python, javascript = await of_python(visitor), await of_node(visitor)
    page = written(python, javascript)
    before = await asyncio.to_thread(lambda: PAGE.read_text("utf-8") if PAGE.is_file() else "")
    if page != before:
        await asyncio.to_thread(PAGE.write_text, page, "utf-8")
    assert page == before, "docs/compatibility.md was out of date; it has been written anew"


async def of_python(visitor: Visitor) -> dict[str, str]:
    async with (
        running_receiver() as receiver,
        openai.AsyncOpenAI(
            base_url=visitor.place.town.url,
            api_key=visitor.caller.key,
            max_retries=0,
            http_client=httpx2.AsyncClient(transport=CheckedTransport(visitor.contract), timeout=60.0),
            _strict_response_validation=True,
        ) as client,
    ):
        results = await Calls(client, receiver.url, lambda: post_event(visitor.place, {})).all()
        assert set(results) == names_in(client), "a call that nothing tries"
        return results


async def of_node(visitor: Visitor) -> dict[str, str]:
    """In a project of its own, as its lists begin empty."""
    caller = await visitor.place.town.key("node")
    async with running_receiver() as receiver, looked_at(visitor):
        arguments = (visitor.place.town.url, caller.key, receiver.url)
        said = json.loads(await asyncio.to_thread(node.run, "calls.mjs", *arguments))
    assert set(said["results"]) == set(said["names"]), "a call that nothing tries"
    results: dict[str, str] = said["results"]
    return results


@asynccontextmanager
async def looked_at(visitor: Visitor) -> AsyncIterator[None]:
    """The upstream tells of the ends of jobs alone; who waits for another status needs looks."""

    async def look() -> None:
        while True:
            await post_event(visitor.place, {})
            await asyncio.sleep(0.3)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


ELSEWISE = r"""
Not served, each with a 404 that says what to use instead: `embeddings`, `batches`, `completions`,
`images`, `audio` and the like. Tuned models are asked by `chat.completions` or `responses`.

An older SDK works too, for the calls that it has: `webhooks.create` and its like came to Node with
version 7 (which needs Node 22; `npm i openai` on Node 20 installs 6). Without them, subscribe by
HTTP:

    curl $OPENAI_BASE_URL/webhook_endpoints -H "Authorization: Bearer $OPENAI_API_KEY" \
         -H "Content-Type: application/json" \
         -d '{"name": "production", "url": "https://you.example/hooks", "event_types": ["fine_tuning.job.succeeded"]}'
""".strip()


def written(python: dict[str, str], javascript: dict[str, str]) -> str:
    versions = node.versions()
    spoken = {snake(name): told for name, told in javascript.items()}
    rows = []
    for name in [*python, *(name for name in spoken if name not in python)]:
        mine, told = python.get(name, "–"), spoken.get(name, "–")
        why = next((text for start, text in WHY.items() if name.startswith(start) and "refused" in mine + told), "")
        rows.append((name.partition(".")[0], f"| `{name}` | {mine} | {told} | {why} |"))
    intro = (
        "Written by `make neighbours`, which tries every call against Tunehook with simulated upstreams and looks at "
        f"what comes of it. Python SDK {openai.__version__}: every answer is held against the SDK's own types (nothing "
        "missing, nothing more than the member `tunehook`) and against our contract. "
        f"Node SDK {versions['openai']}. The names are Python's; Node's are the same in its own spelling."
    )
    known = (
        "Two things that OpenAI itself does are not in its SDKs' types: events of the type `moderation_checks`, and "
        "the statuses of a paused job. The SDKs let them pass."
    )
    lines = [
        "# What works with OpenAI's SDKs",
        "",
        "Which calls of the Python and the Node SDK were tried, with what result.",
        "",
        *textwrap.wrap(intro, 100, break_on_hyphens=False),
        "",
        *textwrap.wrap(known, 100, break_on_hyphens=False),
        "",
        *ELSEWISE.splitlines(),
        "",
        "| call | Python | Node | why not |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row for _, row in sorted(rows, key=lambda row: list(ORDER).index(row[0])))]) + "\n"


ORDER = ("files", "uploads", "fine_tuning", "models", "chat", "responses", "webhooks")


def snake(name: str) -> str:
    """`fineTuning.jobs.listEvents` → `fine_tuning.jobs.list_events`."""
    return re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), name)
