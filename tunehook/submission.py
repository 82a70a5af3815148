"""From a request to a job: everything that can be refused is refused here, before anything is stored."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from typing import Any

from tunehook import job_request, lifecycle
from tunehook.address import AddressRefused, check_url
from tunehook.errors import FileNotFound, FileUnusable, IdempotencyMismatch, InvalidParameter, UnknownUpstream
from tunehook.job_request import JobRequest
from tunehook.model import AT_UPSTREAM, ApiKey, FileRef, Job, JobSpec, new_id
from tunehook.store import keys
from tunehook.store.commit import Missing
from tunehook.store.jobs import IDEMPOTENCY_SECONDS, REPEAT_SECONDS, JobRecord
from tunehook.world import World


async def submit(
    world: World, caller: ApiKey, body: dict[str, Any], *, idempotency_key: str | None, sdk_retry: bool
) -> JobRecord:
    """The accepted job; the earlier one, if this call repeats one.

    A repeat is one with the Idempotency-Key of an earlier call (24 h), or an SDK's own retry of the same body
    by the same key (15 min): decided inside the commit that would make the job.
    """
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    by_body = keys.repeat(caller.id, digest)
    remember, recall = [(by_body, REPEAT_SECONDS)], [by_body] if sdk_retry else []
    by_key = keys.idempotency(caller.project, idempotency_key) if idempotency_key else None
    if by_key:
        remember, recall = [*remember, (by_key, IDEMPOTENCY_SECONDS)], [by_key]
        earlier = await world.store.jobs.by_idempotency(by_key)
        if earlier:
            return _replayed(await world.store.jobs.read(earlier, caller.project), digest)
    request = job_request.parse(body)
    job = await _job(world, caller, request, digest)
    try:
        record = await lifecycle.submit(world, job, remember=remember, recall=recall)
    except Missing as gone:  # deleted a moment ago
        raise FileNotFound(id=gone.key.rpartition(":")[2], param="training_file") from gone
    return _replayed(record, digest)


def _replayed(record: JobRecord, digest: str) -> JobRecord:
    """The job, if it is what this body asks for."""
    if record.job.request_sha256 != digest:
        raise IdempotencyMismatch
    return record


async def _job(world: World, caller: ApiKey, request: JobRequest, digest: str) -> Job:
    upstream = await _upstream(world, caller, request)
    if request.callback_url is not None:
        try:
            check_url(request.callback_url, world.allow)
        except AddressRefused as refused:
            raise InvalidParameter(param="callback_url", why=str(refused.fields["rule"])) from refused
    training = await _file(world, caller, request.training_file, "training_file")
    validation = None
    if request.validation_file is not None:
        validation = await _file(world, caller, request.validation_file, "validation_file")
    elif request.kind == "reinforcement":
        raise InvalidParameter(param="validation_file", why="reinforcement needs a validation file as well")
    asked = request.model_dump(exclude_none=True, exclude={"callback_url", "tunehook", "seed"})
    # A seed of our own where none is asked for: where an upstream shows no metadata, it tells our jobs from others.
    seed = request.seed if request.seed is not None else secrets.randbelow(job_request.MAX_SEED)
    return Job(
        id=new_id("ftjob-"),
        project=caller.project,
        key_id=caller.id,
        created_at=int(time.time()),
        spec=JobSpec(seed=seed, **asked),
        upstream=upstream,
        callback_url=request.callback_url,
        training=training,
        validation=validation,
        request_sha256=digest,
    )


async def _upstream(world: World, caller: ApiKey, request: JobRequest) -> str:
    """The one asked for; for a model that was tuned here, the one that has it; else the first."""
    known = ", ".join(world.upstreams) or "none: set OPENAI_API_KEY"
    named = request.tunehook.upstream if request.tunehook else None
    if named is not None:
        if named not in world.upstreams:
            raise UnknownUpstream(param="tunehook.upstream", name=named, known=known)
        return named
    if request.model.startswith("ft:"):
        made = await world.store.models.find(request.model, caller.project)
        if made is not None and made.upstream in world.upstreams:
            return made.upstream
    if not world.upstreams:
        raise UnknownUpstream(param="tunehook.upstream", name="(default)", known=known)
    return next(iter(world.upstreams))


async def _file(world: World, caller: ApiKey, file_id: str, param: str) -> FileRef:
    if file_id.startswith(AT_UPSTREAM):
        if not re.fullmatch(r"file-[A-Za-z0-9_-]{1,120}", file_id.removeprefix(AT_UPSTREAM)):
            raise InvalidParameter(param=param, why="after 'upstream:' stands the file's id there, such as file-abc123")
        return FileRef(id=file_id, sha256="", bytes=0)
    try:
        file = await world.store.files.read(file_id, caller.project)
    except FileNotFound as missing:
        raise InvalidParameter(f"{missing.message} ({param})", param=param) from missing
    if file.purpose != "fine-tune":
        raise FileUnusable(id=file_id, why=f"its purpose is {file.purpose!r}, not 'fine-tune'", param=param)
    if file.status == "error":
        raise FileUnusable(id=file_id, why=file.status_details or "it has errors", param=param)
    if not await world.shelf.exists(file_id):
        raise FileUnusable(id=file_id, why="its content is no longer kept here; upload it again", param=param)
    return FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes)
