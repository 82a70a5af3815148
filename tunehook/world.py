"""Everything that the story needs from outside, opened in one place and handed in through the front door."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from tunehook.allow_list import AllowList
from tunehook.child import Child
from tunehook.costing import Costing
from tunehook.model import Job
from tunehook.openai_upstream import OpenAIUpstream
from tunehook.settings import Settings
from tunehook.shelf import Shelf
from tunehook.small_files import SmallFiles
from tunehook.store import Store
from tunehook.upstream import Upstream
from tunehook.vault import Vault


@dataclass(frozen=True)
class Keep:
    """For how many seconds after nobody needs it any more; None: for ever. See retention.py."""

    jobs: float | None = None
    datasets: float | None = None
    copies: float | None = None
    orphans: float = 24 * 3600.0  #: what no record names; a file that is being received is never so old


@dataclass(frozen=True)
class World:
    store: Store
    shelf: Shelf
    vault: Vault
    upstreams: Mapping[str, Upstream]
    allow: AllowList
    webhook_secrets: Mapping[str, str] = field(default_factory=dict)  #: by upstream: what verifies its webhooks
    instance: str = "tunehook"
    poll_seconds: float = 30.0
    settle_seconds: float = 180.0
    on_unknown: Literal["retry", "hold"] = "retry"
    operators: str = "default"  #: the project whose endpoints may hear what concerns the whole deployment
    keep: Keep = Keep()
    costing: Costing = field(default_factory=Costing)
    reader: Child = field(default_factory=Child)  #: reads large datasets while they arrive
    small_files: SmallFiles = field(default_factory=SmallFiles)
    jitter: Callable[[], float] = random.random  #: 0 to 1, for the pauses between attempts

    def tag(self, job: Job) -> str:
        """What says whose an upstream's job is: by the name that this deployment had when the job was accepted."""
        return f"{job.mark or self.instance}/{job.id}"


def _seconds(days: float) -> float | None:
    return days * 86400 if days else None


@asynccontextmanager
async def open_world(settings: Settings, *, store_timeout: float = 5.0) -> AsyncIterator[World]:
    """Connects nothing yet; whatever was opened on the way is closed at the end.

    `store_timeout`: seconds after which a Redis that does not answer is away.
    """
    store = Store.connect(settings.redis_url, timeout=store_timeout)
    store.deliveries.kept_seconds = int(settings.keep_deliveries_days * 86400)
    configured = settings.all_upstreams()
    upstreams = {name: OpenAIUpstream(name, upstream) for name, upstream in configured.items()}
    costing, reader, small_files = Costing(settings.prices), Child(), SmallFiles()
    try:
        yield World(
            store=store,
            shelf=Shelf(settings.data_dir),
            vault=Vault(settings.secret_key),
            upstreams=upstreams,
            allow=AllowList.parse(settings.webhook_allow),
            costing=costing,
            reader=reader,
            small_files=small_files,
            webhook_secrets={
                name: upstream.webhook_secret.get_secret_value()
                for name, upstream in configured.items()
                if upstream.webhook_secret
            },
            instance=settings.instance,
            poll_seconds=settings.poll_seconds,
            settle_seconds=settings.settle_seconds,
            on_unknown=settings.on_unknown,
            operators=settings.operators_project,
            keep=Keep(
                jobs=_seconds(settings.keep_jobs_days),
                datasets=_seconds(settings.keep_datasets_days),
                copies=_seconds(settings.keep_copies_days),
            ),
        )
    finally:
        small_files.close()
        await asyncio.gather(costing.close(), reader.close())
        await asyncio.gather(store.close(), *(upstream.close() for upstream in upstreams.values()))
