"""Asks a new model for a word until it answers, then publishes `model.ready`."""

from __future__ import annotations

import asyncio
import logging

from tunehook.context import Context
from tunehook.errors import Conflict, UpstreamError
from tunehook.model.job import Job
from tunehook.model.member import ready_member
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step
from tunehook.webhooks import event_types, publishing

log = logging.getLogger(__name__)

#: A new model is "not found" for some minutes; one that does not answer for an hour is given up.
READY_SECONDS = 3600
READY_PAUSES = (3.0, 60.0)
#: RQ ends a step after 60 s.
ANSWER_SECONDS = 30.0


async def ask_until_ready(ctx: Context, job_id: str) -> None:
    """Runs one step: asks a new model once. It is planned only where an endpoint subscribes to the event."""
    member = ready_member(job_id)

    async def _body(_: Lease) -> None:
        await ctx.store.plan(member, await _ask(ctx, job_id))

    await run_step(ctx.store, member, _body)


async def _ask(ctx: Context, job_id: str) -> float | None:
    """Returns the seconds until the model is asked again; None: never."""
    record = await ctx.store.jobs.read(job_id)
    job = record.job
    model = job.seen.fine_tuned_model if job.seen else None
    since_end = record.now - (job.settled_at or record.now)
    upstream = ctx.upstreams.get(job.upstream)
    if job.deployment is not None and upstream is not None and upstream.deploys is not None:
        deployment = await ctx.store.deployments.running(job_id)
        if deployment is None:
            return None  # it is planned again when the deployment runs
        model, since_end = deployment.chat_model, record.now - (deployment.running_at or record.now)
    if job.ready_at is not None or not model or job.upstream not in ctx.upstreams:
        return None
    if since_end > READY_SECONDS:
        log.warning("model %s of job %s has not answered within an hour", model, job.id)
        return None
    if not await _answers(ctx, job, model):
        least, most = READY_PAUSES
        return min(most, max(least, since_end / 4))
    answered = job.model_copy(update={"ready_at": record.now})
    change = record.change(answered)
    await publishing.publish(ctx.webhooks, change, answered, event_types.READY, now=record.now)
    try:
        await ctx.store.commit(change)
    except Conflict:
        return READY_PAUSES[0]
    return None


async def _answers(ctx: Context, job: Job, model: str) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 16}
    try:
        async with asyncio.timeout(ANSWER_SECONDS), ctx.upstreams[job.upstream].chat(body) as passed:
            async for _ in passed.chunks:
                pass
            return passed.status == 200
    except (UpstreamError, TimeoutError) as error:
        log.info("%s does not answer yet: %s", model, str(error) or f"no answer within {ANSWER_SECONDS} s")
        return False
