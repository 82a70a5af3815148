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
    days, now = _ShutdownDays(ctx), await ctx.store.now_ms() // 1000
    for project in await ctx.store.api_keys.projects():
        if await publishing.has_subscribers(ctx.webhooks, project, event_types.RETIRING):
            for made in await ctx.store.models.of_project(project):
                day = await days.of(made)
                if day and days_until(day, now) <= within_days:
                    await _publish_retiring(ctx, project, made, day)
    return days.complete


async def datasets_in_use(ctx: Context, file_ids: Collection[str]) -> set[str]:
    """Returns those of the files of which a model was trained that still answers: so it can be trained again.

    A model has stopped answering on the shutdown date that its upstream gives for it or its base. Without a date, and
    while its upstream does not answer or is not configured, it counts as answering.
    """
    days, now = _ShutdownDays(ctx), await ctx.store.now_ms() // 1000
    used: set[str] = set()
    for project in await ctx.store.api_keys.projects():
        async for made in ctx.store.models.trained_on(project, file_ids):
            day = await days.of(made)
            if day is None or days_until(day, now) > 0:
                used |= made.files
    return used.intersection(file_ids)


class _ShutdownDays:
    """The days on which models are shut down. Each upstream is asked once; `complete`: each has answered."""

    def __init__(self, ctx: Context) -> None:
        self._upstreams, self._days = ctx.upstreams, dict[str, Mapping[str, str]]()
        self.complete = True

    async def of(self, made: TunedModel) -> str | None:
        """Returns the day that the model's upstream gives for it or its base; None if it gives none, or is gone."""
        if made.upstream in self._upstreams and made.upstream not in self._days:
            try:
                self._days[made.upstream] = models.shutdown_dates(await self._upstreams[made.upstream].models())
            except UpstreamError as error:
                log.warning("no shutdown dates of models of %s: %s", made.upstream, error.message)
                self._days[made.upstream], self.complete = {}, False
        days = self._days.get(made.upstream, {})
        return days.get(made.name) or days.get(made.base)


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
