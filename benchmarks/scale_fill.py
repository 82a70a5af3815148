"""Finished jobs for benchmarks/scale.py, each by one commit of the store: as a job is when all of it is over."""

from __future__ import annotations

import random
import secrets
import time

from tunehook.context import Context
from tunehook.model.file import Copy, Dataset, File
from tunehook.model.job import Cost, FileRef, Job, JobSpec, Message, Stage, UpstreamJob
from tunehook.model.member import delivery_member, job_member
from tunehook.model.record import new_id
from tunehook.model.webhook import Attempt, Event
from tunehook.openai_format import jobs, json_text
from tunehook.store.copies import CopyRecord
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change
from tunehook.webhooks import publishing

MODELS = ("gpt-4.1-mini-2025-04-14", "gpt-4.1-nano-2025-04-14", "gpt-4o-mini-2024-07-18")
CALLBACK = "https://receiver.example/hooks"
DAYS = 60
AT_ONCE = 100


async def fill(ctx: Context, count: int, *, events: int) -> None:
    """Adds so many finished jobs of the last 60 days, with files, copies, models, `events` and one webhook each."""
    for first in range(0, count, AT_ONCE):
        changes: list[Change] = []
        for _ in range(min(AT_ONCE, count - first)):
            job = finished(int(time.time()) - random.randrange(60, DAYS * 86400))  # noqa: S311
            changes += [_record(ctx, job, events), _copy(job)]
        await ctx.store.commit_many(changes)


def finished(at: int) -> Job:
    """Returns a job that ended at `at`, unix seconds."""
    sha256, model = secrets.token_hex(32), random.choice(MODELS)  # noqa: S311
    file = FileRef(id=new_id("file-"), sha256=sha256, bytes=12_000)
    there = new_id("ftjob-")
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "batch_size": 1}}}
    seen = UpstreamJob(
        id=there,
        status="succeeded",
        created_at=at - 900,
        finished_at=at,
        model=model,
        fine_tuned_model=f"ft:{model}:org:{secrets.token_hex(4)}:{secrets.token_hex(4)}",
        trained_tokens=43_200,
        method=method,
        seed=7,
        training_file=new_id("file-"),
    )
    metadata = {"run": secrets.token_hex(4), "team": f"team-{random.randrange(50)}"}  # noqa: S311
    return Job(
        id=new_id("ftjob-"),
        project="default",
        key_id="benchmark",
        created_at=at - 1000,
        stage=Stage.SETTLED,
        spec=JobSpec(model=model, training_file=file.id, method=method, metadata=metadata, seed=7, suffix="scale"),
        upstream="openai",
        callback_url=CALLBACK,
        training=file,
        upstream_job_id=there,
        seen=seen,
        status="succeeded",
        settled_at=at,
        mark="benchmark",
        request_sha256=secrets.token_hex(32),
        estimate=Cost(billed_tokens=43_200, usd=0.2),
    )


def _record(ctx: Context, job: Job, events: int) -> Change:
    store, now = ctx.store, job.settled_at or 0
    change = store.jobs.submission(job)
    change.needs.clear()
    store.files.entry(change, _file(job))
    for n in range(events):
        told = {"step": n, "train_loss": 1.5 / (n + 1), "train_mean_token_accuracy": 0.7, "total_steps": events}
        text = f"Step {n}/{events}: training loss={1.5 / (n + 1):.2f}"
        change.say(job.id, Message(created_at=now - events + n, message=text, type="metrics", data=told))
    change.due(job_member(job.id), None)
    store.jobs.release(change, job)
    change.at(keys.SETTLED, job.id, now - time.time())
    store.models.name(change, job, (job.seen and job.seen.fine_tuned_model) or "")
    _delivered(ctx, change, job, now)
    return change


def _delivered(ctx: Context, change: Change, job: Job, now: int) -> None:
    """Adds the webhook of the job's end, which was received at the first attempt."""
    content = jobs.job_event_data(job, revision=1)
    event_id, kind = new_id("evt_"), "fine_tuning.job.succeeded"
    body = json_text.compact({"id": event_id, "object": "event", "created_at": now, "type": kind, "data": content})
    event = Event(id=event_id, type=kind, project=job.project, job_id=job.id, created_at=now, body=body)
    made = publishing.delivery_of(
        event, CALLBACK, lane=publishing.receiver_of(job.project, CALLBACK), key_id="benchmark"
    )
    over = {"state": "delivered", "attempts": 1, "next_attempt_at": None, "delivered_at": now, "last_status_code": 204}
    delivery = made.model_copy(update=over)
    ctx.store.deliveries.outbox(change, event, [delivery])
    attempt = Attempt(at=now, seconds=0.05, status_code=204, outcome="204")
    change.do("RPUSH", keys.attempts(delivery.id), attempt.model_dump_json(exclude_none=True))
    change.soon = [entry for entry in change.soon if entry[1] != delivery_member(delivery.id)]


def _file(job: Job) -> File:
    return File(
        id=job.training.id,
        project=job.project,
        filename="train.jsonl",
        purpose="fine-tune",
        bytes=job.training.bytes,
        created_at=job.created_at,
        sha256=job.training.sha256,
        dataset=Dataset(format="chat", examples=12, errors=0, warnings=0),
    )


def _copy(job: Job) -> Change:
    copy = Copy(
        upstream=job.upstream,
        sha256=job.training.sha256,
        file_id=job.training.id,
        filename=f"{job.training.sha256}.jsonl",
        bytes=job.training.bytes,
        bytes_sent=job.training.bytes,
        attempts=1,
        state="ready",
        upstream_file_id=job.seen.training_file if job.seen else None,
    )
    return CopyRecord.new(copy)
