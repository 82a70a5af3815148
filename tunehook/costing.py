"""What a job will cost, before it is made: prices, token counts, and where both are kept.

Tokens of a file are counted once for an encoding and limit, in a process of their own, and kept with its record. A
request that needs the count (an estimate, a limit of cost) waits for it; other jobs are accepted without, and get their
estimate as soon as it is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunehook import fitness
from tunehook.child import Child
from tunehook.dataset import Estimate, Prices, TokenStatistics, load_prices
from tunehook.dataset import Price as PriceRow
from tunehook.dataset.checker import ADVISED_EXAMPLES
from tunehook.dataset.estimate import estimate_tokens
from tunehook.dataset.tokens import encoding_of, token_limit
from tunehook.errors import Conflict, DatasetUnread, StoreUnavailable
from tunehook.job_request import JobRequest
from tunehook.model import Cost, Counted, File, Job, Message, Price

if TYPE_CHECKING:
    from tunehook.world import World

log = logging.getLogger(__name__)


class Costing:
    """Prices and the counting process of this program. `prices`: the operator's file, None for the one we bring."""

    def __init__(self, prices: Path | None = None) -> None:
        self._path = prices
        self._prices: Prices | None = None
        self._child = Child(nice=10)  # most counts are waited for by nobody
        self._counting: dict[tuple[str, str], asyncio.Task[Counted]] = {}
        self._later: set[asyncio.Task[None]] = set()

    async def prices(self) -> Prices:
        """Read once. Raises BadPriceFile, OSError."""
        if self._prices is None:
            self._prices = await asyncio.to_thread(load_prices, self._path)
        return self._prices

    async def counted(self, world: World, file: File, model: str) -> Counted:
        """The tokens of a checked file for this model. Raises DatasetUnread."""
        assert file.dataset is not None
        known = already_counted(file, model)
        if known is not None:
            return known
        place = (file.id, _kind(model))
        task = self._counting.get(place)
        if task is None:
            task = asyncio.create_task(self._count(world, file, file.dataset.format, model))
            self._counting[place] = task
            task.add_done_callback(lambda _: self._counting.pop(place, None))
        return await asyncio.shield(task)  # others may wait for it too

    async def _count(self, world: World, file: File, form: str, model: str) -> Counted:
        question = {"do": "count", "path": str(world.shelf.path(file.id)), "format": form, "model": model}
        counted = Counted.model_validate(await self._child.ask(question))
        try:
            await world.store.files.note_count(file.id, _kind(model), counted)
        except (Conflict, StoreUnavailable) as error:
            log.info("the count of %s is not kept: %s", file.id, error.message)
        return counted

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that no request waits for."""
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        tasks = [*self._later, *self._counting.values()]
        for task in tasks:
            task.cancel()
        await self._child.close()
        await asyncio.gather(*tasks, return_exceptions=True)


def _kind(model: str) -> str:
    return f"{encoding_of(model)}/{token_limit(model)}"


def already_counted(file: File, model: str) -> Counted | None:
    return file.dataset.counted.get(_kind(model)) if file.dataset else None


def expected(
    request: JobRequest, file: File, counted: Counted, prices: Prices, warnings: Sequence[str] = ()
) -> Estimate:
    """What the request will cost on this file. Pure."""
    assert file.dataset is not None
    doubts = []
    if file.dataset.examples < ADVISED_EXAMPLES:
        doubts.append(f"{file.dataset.examples} examples; 50 to 100 are advised to begin with.")
    if file.dataset.image_examples:
        doubts.append(f"{file.dataset.image_examples:,} examples show images, counted by rule and not by their size.")
    statistics = TokenStatistics(
        model=request.model,
        encoding=encoding_of(request.model),
        limit=token_limit(request.model),
        total=counted.total,
        trained=counted.trained,
        over_limit=counted.over,
    )
    return estimate_tokens(
        file.dataset.examples,
        statistics,
        model=request.model,
        method=request.kind,
        prices=prices,
        n_epochs=request.n_epochs,
        warnings=[*warnings, *doubts],
    )


def cost_of(estimate: Estimate) -> Cost:
    """What a job keeps of its estimate."""
    usd = None if estimate.cost_usd is None else float(estimate.cost_usd)
    return Cost(billed_tokens=estimate.billed_tokens, usd=usd)


def price_of(row: PriceRow | None) -> Price | None:
    """What a job keeps of the price."""
    if row is None:
        return None
    return Price(
        usd_per_million_tokens=None if row.usd_per_million_tokens is None else float(row.usd_per_million_tokens),
        usd_per_hour=None if row.usd_per_hour is None else float(row.usd_per_hour),
        source=row.source,
        as_of=row.as_of.isoformat(),
    )


async def after_acceptance(
    world: World, job: Job, request: JobRequest, training: File | None, validation: File | None
) -> None:
    """What the client did not wait for: an estimate that needed counting, and whether validation is no validation."""
    try:
        if training is not None and training.dataset is not None and job.estimate is None:
            counted = await world.costing.counted(world, training, request.model)
            told = expected(request, training, counted, await world.costing.prices())
            await world.store.jobs.note_estimate(job.id, cost_of(told))
        if training is not None and validation is not None:
            shared = await fitness.shared_examples(world.shelf, training, validation)
            if shared:
                message = Message(created_at=job.created_at, level="warn", message=shared)
                await world.store.jobs.append(job.id, [message])
    except (StoreUnavailable, DatasetUnread, OSError) as error:
        log.warning("job %s stays without its estimate: %s", job.id, error)
