"""Planning: holds a request against models, files and upstream; refuses all that does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from tunehook.context import Context
from tunehook.errors import FileNotFound, FileUnusable, InvalidParameter, ModelNotFound, ModelUnknown
from tunehook.files import ingest
from tunehook.files.storage import SEEN_SECONDS
from tunehook.jobs import dataset_fit, upstream_choice
from tunehook.jobs.model_access import check_models, grader_models, is_tuned
from tunehook.jobs.upstream_choice import Offered
from tunehook.model.api_key import ApiKey
from tunehook.model.file import File
from tunehook.model.job import AT_UPSTREAM, FileRef
from tunehook.openai_format.job_request import JobRequest
from tunehook.openai_format.models import base_models


@dataclass(frozen=True)
class Plan:
    """A request whose upstream and files were found fit. A file at the upstream has no record here."""

    upstream: str
    options: dict[str, Any] | None
    training: FileRef
    validation: FileRef | None
    training_file: File | None
    validation_file: File | None


async def planned(ctx: Context, caller: ApiKey, request: JobRequest, offered: Offered | None) -> Plan:
    upstream = await upstream_choice.choose(ctx, caller, request, offered)
    options = upstream_choice.check_request(ctx, request, upstream)
    if request.grader is not None:
        await check_models(ctx, caller.project, grader_models(request.grader, "method.reinforcement.grader"))
    await _check_model(ctx, caller, request, upstream, offered)
    if request.callback_url is not None:
        ctx.webhooks.check_url(request.callback_url, "callback_url")
    training, training_file = await _file(ctx, caller, request.training_file, "training_file")
    validation = validation_file = None
    if request.validation_file is not None:
        validation, validation_file = await _file(ctx, caller, request.validation_file, "validation_file")
    elif request.kind == "reinforcement":
        raise InvalidParameter(param="validation_file", why="reinforcement needs a validation file as well")
    plan = Plan(upstream, options, training, validation, training_file, validation_file)
    await _check_fit(ctx, request, plan)
    return plan


async def _check_fit(ctx: Context, request: JobRequest, plan: Plan) -> None:
    """Raises FileUnusable for files that do not fit the job; unchecked ones are compared later."""
    await dataset_fit.check(
        ctx.files.storage,
        plan.training_file,
        plan.validation_file,
        model=request.model,
        method=request.kind,
        grader=request.grader,
        rules=ctx.rules(plan.upstream),
    )


async def when_checked(ctx: Context, request: JobRequest, plan: Plan) -> Plan:
    """Waits for the check of the files, for a request that needs the result. Raises FileNotChecked."""
    files = ((plan.training_file, "training_file"), (plan.validation_file, "validation_file"))
    if any(file is not None and file.status == "uploaded" for file, _ in files):
        training, validation = [file and await ingest.when_checked(ctx.files, file, param) for file, param in files]
        plan = replace(plan, training_file=training, validation_file=validation)
        await _check_fit(ctx, request, plan)
    return plan


async def _check_model(
    ctx: Context, caller: ApiKey, request: JobRequest, upstream: str, offered: Offered | None
) -> None:
    """Refuses a model that is trained otherwise, and one that is known neither here nor at the upstream.

    A model of another project is answered like an unknown one. An upstream that does not answer with a list refuses
    no other. Raises ModelNotFound, InvalidParameter, ModelUnknown.
    """
    model, methods = request.model, ctx.prices.methods(request.model, ctx.rules(upstream).kind)
    if len(methods) == 1 and request.kind not in methods:
        why = f"{model} is trained by {' '.join(methods)} alone, not by {request.kind}"
        raise InvalidParameter(param="method.type" if request.method else "method", why=why)
    [owner] = await ctx.store.models.owners([model])
    if is_tuned(model) and owner != caller.project:
        raise ModelNotFound(id=model[:200], param="model")
    another = owner not in (None, caller.project)
    if not another and (methods or owner or offered is None):
        return
    listed = (await offered()).get(upstream, []) if offered else []
    if another or (listed and all(str(row["id"]) != model for row in listed)):
        why = ctx.prices.unknown(model, base_models(listed, ctx.prices))
        raise ModelUnknown(param="model", why=why, upstream=upstream)


async def _file(ctx: Context, caller: ApiKey, file_id: str, param: str) -> tuple[FileRef, File | None]:
    if file_id.startswith(AT_UPSTREAM):
        if not re.fullmatch(r"file-[A-Za-z0-9_-]{1,120}", file_id.removeprefix(AT_UPSTREAM)):
            raise InvalidParameter(param=param, why="after 'upstream:', write the file's id there, such as file-abc123")
        return FileRef(id=file_id, sha256="", bytes=0), None
    try:
        file = await ctx.store.files.read(file_id, caller.project)
    except FileNotFound as missing:
        raise InvalidParameter(f"{missing.message} ({param})", param=param) from missing
    if file.purpose != "fine-tune":
        raise FileUnusable(id=file_id, why=f"its purpose is {file.purpose!r}, not 'fine-tune'", param=param)
    if not await ctx.files.storage.exists(file_id, within=SEEN_SECONDS):
        raise FileUnusable(id=file_id, why="its content is no longer kept here; upload it again", param=param)
    return FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes), file
