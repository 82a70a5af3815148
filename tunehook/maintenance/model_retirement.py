"""Model retirement: publishes that a tuned model will be shut down at its upstream."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime

from tunehook.context import Context
from tunehook.errors import UpstreamError
from tunehook.model.job import TunedModel
from tunehook.openai_format import models
from tunehook.store.announcements import KEPT_SECONDS
from tunehook.webhooks import event_types, publishing

log = logging.getLogger(__name__)

RETIRING_DAYS = 60
#: What a subscriber needs to train the model again, beside its base.
RETRAIN_MEMBERS = ("training_file", "validation_file", "method", "hyperparameters", "suffix")


async def publish_retiring(ctx: Context, within_days: int = RETIRING_DAYS) -> bool:
    """Publishes shutdown dates that are near, each once. Returns False when an upstream did not answer."""
    complete = True
    days: dict[str, Mapping[str, str]] = {}
    now = await ctx.store.now_ms() // 1000
    for project in await ctx.store.api_keys.projects():
        if not await publishing.has_subscribers(ctx.webhooks, project, event_types.RETIRING):
            continue
        for made in await ctx.store.models.of_project(project):
            if made.upstream not in ctx.upstreams:
                continue
            if made.upstream not in days:
                try:
                    days[made.upstream] = models.shutdown_dates(await ctx.upstreams[made.upstream].models())
                except UpstreamError as error:
                    log.warning("models of %s: %s", made.upstream, error.message)
                    days[made.upstream], complete = {}, False
            day = days[made.upstream].get(made.name) or days[made.upstream].get(made.base)
            if day and days_until(day, now) <= within_days:
                await _publish_retiring(ctx, project, made, day)
    return complete


async def datasets_in_use(ctx: Context, file_ids: Collection[str]) -> set[str]:
    """Returns those of the files of which a model was trained that still answers: so it can be trained again.

    A model has stopped answering on the shutdown date that its upstream gives for it or its base. Without a date, and
    while its upstream does not answer or is not configured, it counts as answering.
    """
    days: dict[str, Mapping[str, str]] = {}
    used: set[str] = set()
    now = await ctx.store.now_ms() // 1000
    for project in await ctx.store.api_keys.projects():
        async for made in ctx.store.models.trained_on(project, file_ids):
            if made.files and made.upstream in ctx.upstreams and made.upstream not in days:
                try:
                    days[made.upstream] = models.shutdown_dates(await ctx.upstreams[made.upstream].models())
                except UpstreamError as error:
                    log.warning("datasets of models of %s are kept: %s", made.upstream, error.message)
                    days[made.upstream] = {}
            known = days.get(made.upstream, {})
            day = known.get(made.name) or known.get(made.base)
            if day is None or days_until(day, now) > 0:
                used |= made.files
    return used.intersection(file_ids)


def days_until(day: str, now: int) -> int:
    """Returns the days from `now` (unix seconds) to `day` (YYYY-MM-DD)."""
    return (date.fromisoformat(day) - datetime.fromtimestamp(now, UTC).date()).days


async def _publish_retiring(ctx: Context, project: str, made: TunedModel, day: str) -> None:
    change = await ctx.store.announcements.once(f"retiring:{project}:{made.name}", day, keep=KEPT_SECONDS)
    if change is None:
        return
    about = {
        "model": made.name,
        "base_model": made.base,
        "job_id": made.job_id,
        "upstream": made.upstream,
        "shutdown_date": day,
        **made.model_dump(include=set(RETRAIN_MEMBERS)),
    }
    now = await ctx.store.now_ms() // 1000
    await publishing.publish_to_project(ctx.webhooks, change, project, event_types.RETIRING, about, now=now)
    await ctx.store.announcements.commit(change)
