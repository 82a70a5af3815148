"""Which upstream gets a new job: named, by its model, or by the order of the default."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.context import SECRET_KEY
from tests.fakes.datasets import dataset
from tests.fakes.fireworks import TUNABLE as FIREWORKS_MODEL
from tests.fakes.nebius import TUNABLE as NEBIUS_MODEL
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.context import Context, open_context
from tunehook.errors import CostAboveLimit, FileUnusable, InvalidParameter, TooFewExamples, UnknownUpstream
from tunehook.files import ingest
from tunehook.jobs import submission
from tunehook.model.api_key import ApiKey
from tunehook.model.job import Job, JobError, Stage
from tunehook.settings import Settings
from tunehook.store.jobs import JobRecord

GPT = "gpt-4.1-mini-2025-04-14"
Rows = Mapping[str, list[dict[str, Any]]]


@dataclass
class Submitting:
    """`listed`: the models that upstreams list, by upstream. Nothing is asked over a network."""

    ctx: Context
    caller: ApiKey
    listed: Rows

    async def file(self, content: bytes) -> str:
        async with ingest.receiving(self.ctx.files.storage) as incoming:
            await incoming.write(content)
            file = await ingest.keep(self.ctx.files, incoming, project="p", filename="train.jsonl", seconds=None)
            await self.ctx.store.files.add(file)
        return file.id

    async def job(self, model: str, *, content: bytes = dataset(), **members: Any) -> Job:
        body = {"model": model, "training_file": await self.file(content)} | members

        async def _offered() -> Rows:
            return self.listed

        record = await submission.submit(
            self.ctx, self.caller, body, idempotency_key=None, sdk_retry=False, offered=_offered
        )
        return record.job


@pytest.fixture
async def submitting(valkey: Valkey, tmp_path: Path) -> AsyncIterator[Submitting]:
    found = {
        "redis_url": valkey.url,
        "data_dir": tmp_path,
        "secret_key": SECRET_KEY,
        "openai_api_key": "k",
        "azure_openai_api_key": "k",
        "azure_openai_endpoint": "http://127.0.0.1:9",
        "fireworks_api_key": "k",
        "fireworks_account_id": "acme",
        "nebius_api_key": "k",
        "together_api_key": "k",
    }
    async with open_context(Settings.model_validate(found)) as ctx:
        key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="p", name="n")
        caller = await api_keys.authenticate(ctx.store, key)
        assert caller is not None
        yield Submitting(ctx, caller, {})


async def refused(at: Submitting, job: Job) -> None:
    """The upstream takes no new jobs of this project."""
    error = JobError(code="training_not_available", message="Fine-tuning is no longer available.")
    record = await at.ctx.store.jobs.read(job.id)
    ended = record.job.model_copy(update={"stage": Stage.SETTLED, "status": "failed", "error": error})
    await at.ctx.store.commit(JobRecord(record.job, record.revision, record.now_ms, record.fields).change(ended))


async def test_the_default_is_the_first_that_has_the_model(submitting: Submitting) -> None:
    assert (await submitting.job(GPT)).upstream == "openai"
    assert (await submitting.job(NEBIUS_MODEL)).upstream == "nebius"
    assert (await submitting.job(FIREWORKS_MODEL)).upstream == "fireworks"


async def test_a_model_that_one_upstream_alone_lists_decides(submitting: Submitting) -> None:
    listed: Rows = {
        "openai": [{"id": "gpt-4.1"}],
        "fireworks": [{"id": "acme/owl", "capabilities": {"fine_tune": False}}],
        "together": [{"id": "acme/owl", "capabilities": {"fine_tune": True}}],
    }
    assert (await replace(submitting, listed=listed).job("acme/owl")).upstream == "together"


async def test_the_request_decides_first_and_a_name_that_is_not_there_is_refused(submitting: Submitting) -> None:
    assert (await submitting.job(GPT, tunehook={"upstream": "azure"})).upstream == "azure"
    with pytest.raises(UnknownUpstream, match="Configured: openai, azure, fireworks, nebius, together"):
        await submitting.job(GPT, tunehook={"upstream": "mine"})


async def test_one_that_takes_no_new_jobs_is_passed_over_if_another_has_the_model(submitting: Submitting) -> None:
    await refused(submitting, await submitting.job(GPT))
    assert (await submitting.job(GPT)).upstream == "azure"
    assert (await submitting.job(GPT, training_file="upstream:file-abc")).upstream == "openai"  # it lies there
    chosen = replace(submitting, ctx=replace(submitting.ctx, chosen_default="openai"))
    assert (await chosen.job(GPT)).upstream == "openai"


async def test_options_and_deployment_are_on_the_record_with_their_defaults(submitting: Submitting) -> None:
    job = await submitting.job(NEBIUS_MODEL, tunehook={"options": {"lora_r": 16}})
    assert job.spec.options == {"lora": True, "lora_r": 16}
    assert job.deployment is not None
    assert job.price is not None
    assert job.price.usd_per_million_tokens == 0.4
    plain = await submitting.job(GPT)
    assert (plain.spec.options, plain.deployment) == (None, None)


async def test_a_limit_of_cost_needs_epochs_where_automatic_ones_are_not_known(submitting: Submitting) -> None:
    limit = {"max_cost_usd": 100}
    with pytest.raises(CostAboveLimit, match='"auto" means at upstreams of kind nebius is not known: give n_epochs'):
        await submitting.job(NEBIUS_MODEL, tunehook=limit)
    job = await submitting.job(NEBIUS_MODEL, tunehook=limit, hyperparameters={"n_epochs": 2})
    assert job.estimate is not None
    assert job.estimate.usd is not None


async def test_a_method_that_the_kind_does_not_have_is_refused(submitting: Submitting) -> None:
    with pytest.raises(InvalidParameter, match="upstreams of kind nebius train by supervised, not by dpo"):
        await submitting.job(NEBIUS_MODEL, method={"type": "dpo"})


async def test_each_kind_has_its_own_fewest_examples_and_its_own_images(submitting: Submitting) -> None:
    three = b"".join(dataset().splitlines(keepends=True)[:3])
    assert (await submitting.job(FIREWORKS_MODEL, content=three)).upstream == "fireworks"
    with pytest.raises(TooFewExamples, match="at least 10"):
        await submitting.job(GPT, content=three)
    two = b"".join(dataset().splitlines(keepends=True)[:2])
    with pytest.raises(TooFewExamples, match="at least 3"):
        await submitting.job(FIREWORKS_MODEL, content=two)
    shown = (
        b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}]},'
    )
    shown += b' {"role": "assistant", "content": "an owl"}]}\n'
    with pytest.raises(FileUnusable, match="images, which upstreams of kind nebius do not train on"):
        await submitting.job(NEBIUS_MODEL, content=dataset() + shown)
