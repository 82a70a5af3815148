"""Model deletion: removes a tuned model at its upstream, then here. A repeat finishes what was begun.

Its deployment goes first, and is not waited for: the answer says how to see that it is gone. The job that made the
model stays, with its name.
"""

from __future__ import annotations

import logging

from tunehook.context import Context
from tunehook.errors import ModelInUse, ModelNotDeletable, ModelNotFound, UpstreamRefused, UpstreamUnsupported
from tunehook.jobs import deployment_commands
from tunehook.jobs.model_access import grader_models
from tunehook.model.deployment import OVER
from tunehook.model.job import Job, Stage, TunedModel
from tunehook.model.member import ready_member

log = logging.getLogger(__name__)

#: Jobs that are read at once.
BATCH = 500


async def delete(ctx: Context, project: str, name: str) -> None:
    """Deletes a tuned model.

    Raises ModelNotFound; ModelNotDeletable, UpstreamUnsupported for one that cannot be deleted; ModelInUse while a job
    needs it or it is deployed; UpstreamError: then it may be there or not, and a repeat decides it.
    """
    made = await ctx.store.models.find(name, project)
    if made is None:
        raise ModelNotFound(id=name[:200], param="model")
    _check_deletable(ctx, made, name)
    await _check_unused(ctx, project, name)
    await _without_deployment(ctx, project, made)
    await ctx.store.confirm()  # that its jobs have ended
    try:
        await ctx.upstreams[made.upstream].delete_model(made.name)
    except UpstreamRefused as refused:
        if refused.status != 404:  # 404: it is gone already
            raise
    await ctx.store.models.forget(project, made.name)
    await ctx.store.unplan(ready_member(made.job_id))
    log.info("model %s of %s was deleted", made.name, made.upstream)


def _check_deletable(ctx: Context, made: TunedModel, name: str) -> None:
    """Raises ModelNotDeletable or UpstreamUnsupported for a model that is not one of its own, or not deleted there."""
    why = None
    if made.name != name:
        why = f"it is a checkpoint of '{made.name}', and goes with that"
    elif made.name == made.base:
        why = "it has the name of its base model"
    elif made.upstream not in ctx.upstreams:
        why = f"its upstream '{made.upstream}' is not configured here"
    if why is not None:
        raise ModelNotDeletable(model=name[:200], why=why, param="model")
    if not ctx.upstreams[made.upstream].deletes_models:
        what, instead = "deletion of models from here", "Delete it at the vendor."
        raise UpstreamUnsupported(upstream=made.upstream, what=what, instead=instead, status=501, param="model")


async def _check_unused(ctx: Context, project: str, name: str) -> None:
    """Raises ModelInUse for a model that a job of the project trains, or is graded by. Others cannot name it."""
    ids = await ctx.store.jobs.unsettled(project)
    for begin in range(0, len(ids), BATCH):
        for record in await ctx.store.jobs.read_many(ids[begin : begin + BATCH]):
            if record.job.stage is not Stage.SETTLED and _needs(record.job, name):
                raise ModelInUse(model=name[:200], why=f"job {record.job.id} needs it until it ends", param="model")


def _needs(job: Job, name: str) -> bool:
    named = {job.spec.model, *grader_models(job.spec.method or {}, "method")}
    return any(model == name or model.partition(":ckpt-")[0] == name for model in named)


async def _without_deployment(ctx: Context, project: str, made: TunedModel) -> None:
    """Asks for the removal of the model's deployment. Raises ModelInUse until that is gone."""
    record = await ctx.store.deployments.read(made.job_id)
    if record is None or record.deployment.stage in OVER:
        return
    await deployment_commands.undeploy(ctx, project, made.name)
    why = "its deployment is being removed first, until GET /v1/models/{model}/deploy shows the state 'gone'"
    raise ModelInUse(model=made.name[:200], why=why, param="model")
