"""Context: the store, files, webhooks, upstreams and prices that the program works with; opened per process or step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from tunehook.dataset.prices import BadPriceFile, Prices, load_prices
from tunehook.dataset.rules import Rules, rules_of
from tunehook.errors import StoreUnavailable
from tunehook.files import Files
from tunehook.files.storage import Storage, open_place
from tunehook.model.job import Job
from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.settings import Settings, SettingsError
from tunehook.store.store import Store
from tunehook.upstreams import answers
from tunehook.upstreams.kinds import open_upstream
from tunehook.upstreams.protocol import Upstream
from tunehook.webhooks import Webhooks

#: The price file is read once a process: a step inherits what its worker read.
_prices = cache(load_prices)


@dataclass(frozen=True)
class RetentionPeriods:
    """How many seconds after their last use things are kept; None: for ever. See maintenance/retention.py."""

    jobs: float | None = None
    datasets: float | None = None
    copies: float | None = None
    half_received: float = 24 * 3600.0  #: left by a killed process; a file that is being received is never so old


@dataclass(frozen=True)
class Context:
    store: Store
    files: Files
    webhooks: Webhooks
    upstreams: Mapping[str, Upstream]
    prices: Prices
    webhook_secrets: Mapping[str, str] = field(default_factory=dict)  #: by upstream: verifies its webhooks
    instance: str = "tunehook"
    poll_seconds: float = 30.0
    settle_seconds: float = 180.0
    on_unknown: Literal["retry", "hold"] = "retry"
    chosen_default: str | None = None  #: the upstream that TUNEHOOK_DEFAULT_UPSTREAM names
    free_slots: Mapping[str, int] = field(default_factory=dict)  #: by upstream: so many of its slots are not used
    keep: RetentionPeriods = RetentionPeriods()

    def rules(self, upstream: str) -> Rules:
        """Returns the rules of the upstream's kind; OpenAI's for one that is no longer configured."""
        known = self.upstreams.get(upstream)
        return rules_of(known.kind if known else "openai")

    async def count_answers(self) -> None:
        """Adds the answers of upstreams that this process had to the metrics."""
        await self.store.metrics.count_answers(answers.take_counts())

    async def mark(self) -> str:
        """Returns what marks new jobs as this deployment's: its name, and the start of its store's random mark.

        Two deployments on one account that both kept the default name are told apart by it.
        """
        mark, _ = await self.store.deletion.storage_mark()
        return f"{self.instance}.{mark[:8]}"

    def tag(self, job: Job) -> str:
        """Returns the mark of the job at its upstream: `mark()` when it was accepted, and its id."""
        return f"{job.mark or self.instance}/{job.id}"


def _seconds(days: float) -> float | None:
    return days * 86400 if days else None


@asynccontextmanager
async def open_context(
    settings: Settings, *, store_timeout: float = 5.0, make_files: Callable[[Store, Storage], Files] = Files
) -> AsyncIterator[Context]:
    """Opens a context, and closes it at the end. Nothing is connected yet.

    `store_timeout`: seconds after which a Redis that does not answer counts as unavailable. Raises SettingsError for
    a price file that cannot be read.
    """
    try:
        prices = await asyncio.to_thread(_prices, settings.prices)
    except (BadPriceFile, OSError) as error:
        raise SettingsError(why=f"TUNEHOOK_PRICES: {error}") from error
    store = Store.connect(settings.redis_url, timeout=store_timeout, replicas=settings.replicas)
    store.redis_health.strict = settings.durability == "strict"
    store.deliveries.kept_seconds = int(settings.keep_deliveries_days * 86400)
    configured = settings.all_upstreams()
    upstreams = {name: open_upstream(name, upstream) for name, upstream in configured.items()}
    files = make_files(store, Storage(open_place(settings.store_url, settings.data_dir), store.deletion))
    ctx = Context(
        store=store,
        files=files,
        webhooks=Webhooks(
            store,
            Encryption(settings.secret_key),
            AllowList.parse(settings.webhook_allow),
            operators=settings.operators_project,
        ),
        upstreams=upstreams,
        prices=prices,
        webhook_secrets={
            name: upstream.webhook_secret.get_secret_value()
            for name, upstream in configured.items()
            if upstream.webhook_secret
        },
        free_slots={name: upstream.free_slots for name, upstream in configured.items() if upstream.free_slots},
        instance=settings.instance,
        poll_seconds=settings.poll_seconds,
        settle_seconds=settings.settle_seconds,
        on_unknown=settings.on_unknown,
        chosen_default=settings.default_upstream or None,
        keep=RetentionPeriods(
            jobs=_seconds(settings.keep_jobs_days),
            datasets=_seconds(settings.keep_datasets_days),
            copies=_seconds(settings.keep_copies_days),
        ),
    )
    try:
        yield ctx
    finally:
        with suppress(StoreUnavailable):
            await ctx.count_answers()
        await files.close()
        await asyncio.gather(store.close(), *(upstream.close() for upstream in upstreams.values()))
