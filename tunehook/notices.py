"""What is told besides a job's own course: checkpoints, silence, a model that answers, one that will be shut down,
an upstream that refuses our key, a record that was given up.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from tunehook import event_types, offered, telling, wire
from tunehook.errors import (
    Conflict,
    JobNotFound,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    UpstreamError,
    UpstreamUnauthorized,
)
from tunehook.model import Job, Stage, TunedModel
from tunehook.store.commit import Change
from tunehook.store.jobs import JobRecord
from tunehook.world import World

log = logging.getLogger(__name__)

_HOUR = 3600
#: Silence: jobs take minutes to hours, reinforcement up to a day and more; and past its own estimate by this much.
QUIET_SECONDS = 24 * _HOUR
QUIET_REINFORCEMENT_SECONDS = 72 * _HOUR
OVERDUE_SECONDS = 6 * _HOUR
#: A fresh model is "not found" for up to some minutes; one that does not answer for an hour needs something else.
READY_SECONDS = _HOUR
READY_PAUSES = (3.0, 60.0)
RETIRING_DAYS = 60
RETIRING_SWEEP_SECONDS = 24 * _HOUR
PARKED_SWEEP_SECONDS = _HOUR
SWEEP_AGAIN_SECONDS = 600.0
#: Refusals that follow each other within this time are one spell, told once.
SPELL_SECONDS = 15 * 60
TOLD_SECONDS = 400 * 24 * _HOUR

SWEEPS = ("sweep:retiring", "sweep:parked", "sweep:retention")


async def checkpoints(world: World, job_id: str) -> None:
    """Tells of every checkpoint that has not been told, each once, by its step. Raises UpstreamError."""
    record = await world.store.jobs.read(job_id)
    job = record.job
    upstream = world.upstreams.get(job.upstream)
    if not job.upstream_job_id or upstream is None:
        return
    if not await telling.is_told(world, job.project, event_types.CHECKPOINT):
        return
    answer = await upstream.checkpoints(job.upstream_job_id, after=None, limit=100)
    rows = [
        row for row in answer.get("data") or [] if isinstance(row, dict) and isinstance(row.get("step_number"), int)
    ]
    for row in sorted(rows, key=lambda row: int(row["step_number"])):
        while not await _tell_checkpoint(world, record, row):  # somebody changed the job: read again, and go on
            record = await world.store.jobs.read(job_id)
        record = await world.store.jobs.read(job_id)


async def _tell_checkpoint(world: World, record: JobRecord, row: dict[str, Any]) -> bool:
    """True when it is told, now or before; False when the record is not what it was."""
    job = record.job
    if row["step_number"] <= job.checkpoint_told:
        return True
    told = job.model_copy(update={"checkpoint_told": row["step_number"]})
    change = record.change(told)
    about = {
        "id": job.id,
        "checkpoint": wire.checkpoint_object(job, row),
        "metadata": job.spec.metadata,
        "tunehook": {"sequence": record.revision + 1},
    }
    await telling.tell(world, change, told, event_types.CHECKPOINT, now=record.now, about=about)
    try:
        await world.store.commit(change)
    except Conflict:
        return False
    return True


def is_stalled(job: Job, now: int) -> bool:
    """No news of a tracked job for far longer than such jobs take, and not told yet."""
    if job.stalled_at is not None:
        return False
    quiet = now - (job.news_at or job.created_at)
    estimate = job.seen.estimated_finish if job.seen else None
    if estimate is not None and quiet > OVERDUE_SECONDS and now > estimate + OVERDUE_SECONDS:
        return True
    return quiet > (QUIET_REINFORCEMENT_SECONDS if wire.method(job)["type"] == "reinforcement" else QUIET_SECONDS)


async def ready(world: World, job_id: str) -> None:
    """One step: asks a fresh model for a word. It is planned only where somebody wants to know."""
    member = f"ready:{job_id}"
    try:
        async with world.store.lease(member):
            again_in = await _ask(world, job_id)
            if again_in is None:
                await world.store.unplan(member)
            else:
                await world.store.plan(member, again_in)
    except LeaseTaken:
        return
    except (JobNotFound, RecordTooNew):
        await world.store.unplan(member)


async def _ask(world: World, job_id: str) -> float | None:
    """Seconds until it is asked again; None: never."""
    record = await world.store.jobs.read(job_id)
    job = record.job
    model = job.seen.fine_tuned_model if job.seen else None
    since_end = record.now - (job.settled_at or record.now)
    if job.ready_at is not None or not model or job.upstream not in world.upstreams:
        return None
    if since_end > READY_SECONDS:
        log.warning("model %s of job %s has not answered within an hour", model, job.id)
        return None
    if not await _answers(world, job, model):
        least, most = READY_PAUSES
        return min(most, max(least, since_end / 4))
    answered = job.model_copy(update={"ready_at": record.now})
    change = record.change(answered)
    await telling.tell(world, change, answered, event_types.READY, now=record.now)
    try:
        await world.store.commit(change)
    except Conflict:
        return READY_PAUSES[0]
    return None


async def _answers(world: World, job: Job, model: str) -> bool:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 16}
    try:
        async with world.upstreams[job.upstream].chat(body) as passed:
            async for _ in passed.chunks:
                pass
            return passed.status == 200
    except UpstreamError as error:
        log.info("asking %s: %s", model, error.message)
        return False


# ---- sweeps


async def sweep(world: World, what: str) -> None:
    """One step of a sweep; plans the next."""
    member = f"sweep:{what}"
    try:
        async with world.store.lease(member):
            await world.store.plan(member, SWEEP_AGAIN_SECONDS)
            if what == "retiring":
                done = await retiring(world)
                await world.store.plan(member, RETIRING_SWEEP_SECONDS if done else SWEEP_AGAIN_SECONDS)
            elif what == "parked":
                await parked(world)
                await world.store.plan(member, PARKED_SWEEP_SECONDS)
            else:
                await world.store.unplan(member)
    except LeaseTaken:
        return


async def retiring(world: World, within_days: int = RETIRING_DAYS) -> bool:
    """Tells of tuned models whose shutdown date is near, each date once. False when an upstream did not answer."""
    complete = True
    days: dict[str, Mapping[str, str]] = {}
    for project in await world.store.access.projects():
        if not await telling.is_told(world, project, event_types.RETIRING):
            continue
        for made in await world.store.models.of_project(project):
            if made.upstream not in world.upstreams:
                continue
            if made.upstream not in days:
                try:
                    days[made.upstream] = offered.shutdown_dates(await world.upstreams[made.upstream].models())
                except UpstreamError as error:
                    log.warning("models of %s: %s", made.upstream, error.message)
                    days[made.upstream], complete = {}, False
            day = days[made.upstream].get(made.name) or days[made.upstream].get(made.base)
            if day and days_until(day, await world.store.now_ms() // 1000) <= within_days:
                await _tell_retiring(world, project, made, day)
    return complete


def days_until(day: str, now: int) -> int:
    """`day`: YYYY-MM-DD; `now`: unix seconds."""
    return (date.fromisoformat(day) - datetime.fromtimestamp(now, UTC).date()).days


async def _tell_retiring(world: World, project: str, made: TunedModel, day: str) -> None:
    change = await world.store.tellings.once(f"retiring:{project}:{made.name}", day, keep=TOLD_SECONDS)
    if change is None:
        return
    about = {
        "model": made.name,
        "base_model": made.base,
        "job_id": made.job_id,
        "upstream": made.upstream,
        "shutdown_date": day,
    }
    now = await world.store.now_ms() // 1000
    await telling.tell_project(world, change, project, event_types.RETIRING, about, now=now)
    await _commit_once(world, change)


async def parked(world: World) -> None:
    """Tells of every record that was given up, once for each time."""
    now = await world.store.now_ms() // 1000
    for member, since in await world.store.parked():
        change = await world.store.tellings.once(f"parked:{member}", str(since), keep=TOLD_SECONDS)
        if change is None:
            continue
        kind, _, record_id = member.partition(":")
        about: dict[str, Any] = {
            "record_id": record_id if kind == "job" else member,
            "claims": 20,
            "message": "Nothing came of 20 steps in a row. The worker's log says why; `tunehook doctor` shows it.",
        }
        try:
            project = (await world.store.jobs.read(record_id)).job.project if kind == "job" else None
        except (JobNotFound, RecordTooNew, RecordUnreadable):
            project = None
        if project is None:
            await telling.tell_operators(world, change, event_types.RECORD_PARKED, about, now=now)
        else:
            await telling.tell_project(world, change, project, event_types.RECORD_PARKED, about, now=now)
        await _commit_once(world, change)


async def refused(world: World, error: UpstreamUnauthorized, seconds: float) -> None:
    """An upstream refuses our key: held for some seconds, and told in the same commit, once in a spell."""
    upstream, now = error.upstream, await world.store.now_ms() // 1000
    code = error.code or "upstream_unauthorized"
    change = await world.store.tellings.once(f"refused:{upstream}", code, keep=SPELL_SECONDS)
    if change is None:
        await world.store.tellings.keep(f"refused:{upstream}", SPELL_SECONDS)
        await world.store.upstreams.hold(upstream, code, error.message, seconds)
        return
    hold = json.dumps({"code": code, "reason": error.message, "until": now + int(seconds)})
    world.store.upstreams.hold_with(change, upstream, hold, seconds)
    about = {
        "upstream": upstream,
        "code": code,
        "message": error.message,
        "waiting_jobs": await _waiting_jobs(world, upstream),
    }
    await telling.tell_operators(world, change, event_types.UPSTREAM_REFUSED, about, now=now)
    await _commit_once(world, change)


async def _waiting_jobs(world: World, upstream: str) -> int:
    """Jobs that are not there yet, counted among the next 2,000 that are due."""
    records = await world.store.jobs.read_many(await world.store.unsettled(2000))
    unplaced = (Stage.TRACKED, Stage.SETTLED)
    return sum(record.job.upstream == upstream and record.job.stage not in unplaced for record in records)


async def _commit_once(world: World, change: Change) -> None:
    try:
        await world.store.commit(change)
    except Conflict:
        return  # somebody else has told it this moment
