"""A project in which something of every kind has happened: what the views are looked at with."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from tests.page.project import BAD_DATASET, MODEL, Project

HEARD = [f"fine_tuning.job.{end}" for end in ("succeeded", "failed", "cancelled", "waiting", "checkpoint")]
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Scene:
    project: Project
    succeeded: str
    failed: str
    waiting: str
    training: str
    good_file: str
    bad_file: str
    endpoint: str
    model: str


def receiver() -> web.Application:
    """A subscriber: takes what comes to /hooks, and is broken at /broken."""

    async def _take(request: web.Request) -> web.Response:
        await request.read()
        if request.path.startswith("/broken"):
            return web.Response(status=503, text="upstream connect error")
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{path:.*}", _take)
    return app


async def furnish(project: Project, receivers: str) -> Scene:
    """Makes the scene; `receivers`: where `receiver` is served. Takes about ten seconds."""
    made = await project.call(
        "POST", "/webhook_endpoints", {"name": "production", "url": f"{receivers}/hooks", "event_types": HEARD}
    )
    await project.call(
        "POST",
        "/webhook_endpoints",
        {"name": "staging", "url": f"{receivers}/broken", "event_types": ["fine_tuning.job.succeeded"]},
    )
    birds = (EXAMPLES / "audubon_birds.jsonl").read_bytes()
    good = await project.file(birds, "audubon_birds.jsonl")
    checked = await project.file((EXAMPLES / "sarcastic.jsonl").read_bytes(), "sarcastic.jsonl")
    bad = await project.file(BAD_DATASET, "answers.jsonl")
    callback = f"{receivers}/hooks/jobs"
    succeeded, failed, waiting, training = await asyncio.gather(
        project.job(
            file=good, validation_file=checked, suffix="birds", callback_url=callback, metadata={"team": "search"}
        ),
        project.job(suffix="tone", metadata={"team": "support", "simulate": "fail"}),
        project.job(upstream="full", suffix="faq", metadata={"simulate": "concurrent_jobs*100000"}),
        project.job(
            upstream="openai", suffix="sarcasm", file=good, validation_file=checked, metadata={"simulate": "stall"}
        ),
    )
    ended = await project.ended(succeeded)
    await project.ended(failed, "failed")
    await project.becomes(waiting, lambda job: job["tunehook"]["waiting"] is not None)
    await project.has_steps(training, 12)
    return Scene(
        project, succeeded, failed, waiting, training, good, bad, str(made["id"]), str(ended["fine_tuned_model"])
    )


async def many_jobs(project: Project, count: int) -> None:
    """Adds jobs to a project, more than a page of a list; each is cancelled at once, so that none is worked on."""
    file = await project.file()
    gate = asyncio.Semaphore(8)

    async def _one(n: int) -> None:
        async with gate:
            body = {"model": MODEL, "training_file": file, "suffix": f"n{n}", "metadata": {"n": str(n)}}
            job = await project.call("POST", "/fine_tuning/jobs", body)
            await project.call("POST", f"/fine_tuning/jobs/{job['id']}/cancel")

    await asyncio.gather(*(_one(n) for n in range(count)))


def pairs(count: int = 12) -> str:
    """Pairs as people paste them: a prompt, a tab, an answer, in each line."""
    return "\n".join(f"What is bird {n} called?\tBird number {n}." for n in range(count))


def small_dataset(mark: str) -> bytes:
    """Twelve examples that no other test has sent."""
    lines = (
        {
            "messages": [
                {"role": "user", "content": f"Name bird {n} of {mark}."},
                {"role": "assistant", "content": "Owl"},
            ]
        }
        for n in range(12)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
