"""Fireworks' official client, driven against our fake of Fireworks: its types parse each answer, strictly.

What it sends for the same job is what our adapter sends.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import fireworks
import httpx2
import pytest
from fireworks.lib.dataset_upload import count_dataset_examples

from tests.fakes.fireworks import DPO, SUPERVISED, TUNABLE, FakeFireworks, running_fireworks
from tests.fakes.stored import Sent
from tests.integration.upstreams.story import CONTENT, FILE, TAG, file_at, ignored, settings, spec
from tunehook.model.deployment import Deployment
from tunehook.upstreams.fireworks import FireworksUpstream
from tunehook.upstreams.fireworks_dialect import named


@pytest.fixture
async def fake() -> AsyncIterator[FakeFireworks]:
    async with running_fireworks() as running:
        yield running


@pytest.fixture
async def official(fake: FakeFireworks) -> AsyncIterator[fireworks.AsyncFireworks]:
    async with fireworks.AsyncFireworks(
        api_key=fake.key,
        account_id=fake.account,
        base_url=fake.url,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
async def upstream(fake: FakeFireworks) -> AsyncIterator[FireworksUpstream]:
    adapter = FireworksUpstream("fireworks", settings(fake.url, fake.key), account_id=fake.account)
    yield adapter
    await adapter.close()


async def dataset(official: fireworks.AsyncFireworks, folder: Path, name: str = "owls") -> None:
    path = file_at(folder)
    examples = str(count_dataset_examples(str(path)))
    await official.datasets.create(dataset_id=name, dataset={"user_uploaded": {}, "example_count": examples})
    await official.datasets.upload(name, file=path)
    await official.datasets.validate_upload(name, body={})


async def test_datasets(official: fireworks.AsyncFireworks, fake: FakeFireworks, tmp_path: Path) -> None:
    await dataset(official, tmp_path)
    found = await official.datasets.get("owls")
    assert (found.state, found.example_count) == ("READY", str(CONTENT.count(b"\n")))
    assert fake.datasets["owls"].content == CONTENT
    with pytest.raises(fireworks.ConflictError):
        await official.datasets.create(dataset_id="owls", dataset={})
    with pytest.raises(fireworks.NotFoundError):
        await official.datasets.get("larks")


async def test_a_signed_address(official: fireworks.AsyncFireworks, fake: FakeFireworks) -> None:
    """As fireworks/lib/dataset_upload.py sends; it takes https addresses alone, so the bytes go by hand here."""
    await official.datasets.create(dataset_id="owls", dataset={})
    size = len(CONTENT)
    signed = await official.datasets.get_upload_endpoint("owls", filename_to_size={"owls.jsonl": str(size)})
    assert signed.filename_to_signed_urls is not None
    headers = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{size},{size}"}
    async with httpx2.AsyncClient() as client:
        answer = await client.put(signed.filename_to_signed_urls["owls.jsonl"], content=CONTENT, headers=headers)
    assert answer.status_code == 200
    await official.datasets.validate_upload("owls", body={})
    assert (await official.datasets.get("owls")).state == "READY"


async def test_jobs_of_both_kinds(official: fireworks.AsyncFireworks, fake: FakeFireworks, tmp_path: Path) -> None:
    await dataset(official, tmp_path)
    full = "accounts/acme/datasets/owls"
    tuned = await official.supervised_fine_tuning_jobs.create(
        dataset=full, base_model=TUNABLE, supervised_fine_tuning_job_id="th-1", epochs=2, batch_size_samples=8
    )
    assert (tuned.name, tuned.state) == (f"accounts/acme/{SUPERVISED}/th-1", "JOB_STATE_CREATING")
    with pytest.raises(fireworks.ConflictError):
        await official.supervised_fine_tuning_jobs.create(
            dataset=full, base_model=TUNABLE, supervised_fine_tuning_job_id="th-1"
        )
    preferred = await official.dpo_jobs.create(
        dataset=full, dpo_job_id="th-2", training_config={"base_model": TUNABLE}, loss_config={"method": "DPO"}
    )
    assert preferred.name == f"accounts/acme/{DPO}/th-2"
    fake.set_state("JOB_STATE_RUNNING", jobProgress={"percent": 40, "epoch": 1, "inputTokens": 900})
    read = await official.supervised_fine_tuning_jobs.get("th-1")
    assert read.job_progress is not None
    assert read.job_progress.percent == 40
    assert [job.name async for job in official.supervised_fine_tuning_jobs.list()] == [tuned.name]
    assert [job.name async for job in official.dpo_jobs.list()] == [preferred.name]
    await official.supervised_fine_tuning_jobs.cancel("th-1", body={})
    assert (await official.supervised_fine_tuning_jobs.get("th-1")).state == "JOB_STATE_CANCELLED"
    assert (await official.supervised_fine_tuning_jobs.resume("th-1", body={})).state == "JOB_STATE_RUNNING"
    fake.set_state("JOB_STATE_COMPLETED", estimatedCost={"currencyCode": "USD", "units": "2", "nanos": 500_000_000})
    ended = await official.supervised_fine_tuning_jobs.get("th-1")
    assert ended.estimated_cost is not None
    assert ended.estimated_cost.units == "2"
    assert ended.completed_time is not None


async def test_the_adapter_sends_what_the_official_client_sends(
    official: fireworks.AsyncFireworks, upstream: FireworksUpstream, fake: FakeFireworks, tmp_path: Path
) -> None:
    await dataset(official, tmp_path)
    asked = {"n_epochs": 2, "batch_size": 8}
    validated = spec(TUNABLE, suffix="owls", hyperparameters=asked)
    await upstream.create(validated, training="owls", validation="owls", tag=TAG)
    full = "accounts/acme/datasets/owls"
    await official.supervised_fine_tuning_jobs.create(
        dataset=full,
        base_model=TUNABLE,
        supervised_fine_tuning_job_id="official",
        display_name="owls",
        epochs=2,
        batch_size_samples=8,
        evaluation_dataset=full,
    )
    preferring = spec(
        TUNABLE,
        suffix="owls",
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, **asked}}},
    )
    await upstream.create(preferring, training="owls", validation=None, tag=TAG)
    await official.dpo_jobs.create(
        dataset=full,
        dpo_job_id="official",
        display_name="owls",
        loss_config={"method": "DPO", "dpo": {"beta": 0.2}},
        training_config={"base_model": TUNABLE, "epochs": 2, "batch_size_samples": 8},
    )
    for jobs in fake.jobs.values():
        ours, theirs = jobs[named(TAG)], jobs["official"]
        own = ("name", "createTime", "updateTime")
        assert {key: ours[key] for key in ours if key not in own} == {
            key: theirs[key] for key in theirs if key not in own
        }
    supervised, _ = await upstream.page(None)
    preferred, more = await upstream.page(supervised[-1].id)
    assert [job.id for job in supervised] == ["official", named(TAG)]
    assert [job.id for job in preferred] == [f"{DPO}:official", f"{DPO}:{named(TAG)}"]
    assert not more


async def test_the_official_client_reads_the_datasets_of_the_adapter(
    official: fireworks.AsyncFireworks, upstream: FireworksUpstream, tmp_path: Path
) -> None:
    found = await official.datasets.get(await upstream.upload(Sent.of(file_at(tmp_path)), FILE, ignored))
    assert (found.state, found.example_count, found.display_name) == ("READY", str(CONTENT.count(b"\n")), FILE[:63])


async def test_models_and_a_model_that_is_not_deployed(official: fireworks.AsyncFireworks) -> None:
    assert [model.name async for model in official.models.list(account_id="fireworks")] == [TUNABLE]
    with pytest.raises(fireworks.NotFoundError, match="not deployed"):
        await official.chat.completions.create(
            model="accounts/acme/models/th-1", messages=[{"role": "user", "content": "Hello"}]
        )


def wanted(model: str) -> Deployment:
    return Deployment(
        id="ftjob-1",
        project="p",
        upstream="fireworks",
        upstream_job_id="th-1",
        model=model,
        base=TUNABLE,
        mark=TAG,
        asked_at=1,
    )


async def test_a_deployment(official: fireworks.AsyncFireworks, fake: FakeFireworks) -> None:
    """Created, got, listed and deleted; its name is not free again after that."""
    made = await official.deployments.create(base_model=TUNABLE, deployment_id="owls", deployment_shape="default")
    assert (made.name, made.state, made.base_model) == (fake.name("deployments", "owls"), "CREATING", TUNABLE)
    with pytest.raises(fireworks.ConflictError):
        await official.deployments.create(base_model=TUNABLE, deployment_id="owls", deployment_shape="default")
    await official.deployments.get("owls")
    ready = await official.deployments.get("owls")
    assert (ready.state, ready.accelerator_type, ready.accelerator_count) == ("READY", "NVIDIA_A100_80GB", 2)
    assert [found.name async for found in official.deployments.list()] == [made.name]
    await official.deployments.delete("owls", ignore_checks=True)
    assert (await official.deployments.get("owls")).state == "DELETING"
    assert (await official.deployments.get("owls")).state == "DELETED"
    assert [found.name async for found in official.deployments.list()] == []
    assert [found.state async for found in official.deployments.list(show_deleted=True)] == ["DELETED"]
    with pytest.raises(fireworks.NotFoundError):
        await official.deployments.delete("owls")
    with pytest.raises(fireworks.NotFoundError):
        await official.deployments.get("larks")


async def test_the_adapter_sends_what_the_official_client_sends_for_a_deployment(
    official: fireworks.AsyncFireworks, upstream: FireworksUpstream, fake: FakeFireworks
) -> None:
    ours = await upstream.deploy(wanted(TUNABLE))
    await official.deployments.create(
        base_model=TUNABLE, deployment_id="official", deployment_shape="default", display_name="ftjob-1"
    )
    sent, theirs = fake.deployments.shown.values()
    own = ("name", "createTime")
    assert {key: sent[key] for key in sent if key not in own} == {key: theirs[key] for key in theirs if key not in own}
    name = ours.there.rpartition("/")[2]
    assert (await official.deployments.get(name)).name == ours.there
    await upstream.undeploy(wanted(TUNABLE))
    assert (await official.deployments.get(name)).state == "DELETING"
