"""Sweeps: recurring steps that publish models about to be shut down, and records that were parked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tunehook.context import Context
from tunehook.errors import JobNotFound, RecordTooNew, RecordUnreadable
from tunehook.maintenance.model_retirement import publish_retiring
from tunehook.store.announcements import KEPT_SECONDS
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_recurring_step
from tunehook.webhooks import event_types, publishing

RETIRING_SWEEP_SECONDS = 24 * 3600
PARKED_SWEEP_SECONDS = 3600
SWEEP_AGAIN_SECONDS = 600.0


async def sweep(ctx: Context, what: str) -> None:
    """Runs one step of a sweep and plans the next."""
    member = f"sweep:{what}"

    async def _body(_: Lease) -> None:
        await ctx.store.plan(member, SWEEP_AGAIN_SECONDS)
        if what == "retiring":
            done = await publish_retiring(ctx)
            await ctx.store.plan(member, RETIRING_SWEEP_SECONDS if done else SWEEP_AGAIN_SECONDS)
        elif what == "parked":
            await publish_parked(ctx)
            await ctx.store.plan(member, PARKED_SWEEP_SECONDS)
        else:
            await ctx.store.unplan(member)

    await run_recurring_step(ctx.store, member, _body)


async def publish_parked(ctx: Context) -> None:
    """Publishes each parked record, once for each time that it was parked."""
    now = await ctx.store.now_ms() // 1000
    for member, since in await ctx.store.parked():
        change = await ctx.store.announcements.once(f"parked:{member}", str(since), keep=KEPT_SECONDS)
        if change is None:
            continue
        kind, _, record_id = member.partition(":")
        about: dict[str, Any] = {
            "record_id": record_id if kind == "job" else member,
            "claims": 20,
            "message": "20 steps in a row failed. The worker's log says why; `tunehook doctor` shows the record.",
        }
        project = ctx.webhooks.operators
        if kind == "job":
            with suppress(JobNotFound, RecordTooNew, RecordUnreadable):
                project = (await ctx.store.jobs.read(record_id)).job.project
        await publishing.publish_to_project(ctx.webhooks, change, project, event_types.RECORD_PARKED, about, now=now)
        await ctx.store.announcements.commit(change)
