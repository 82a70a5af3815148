"""`POST …/retrain`: one job's data trained again elsewhere, once for each wish."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.app import build_app
from service.connections import listening
from tests.contract.checker import Contract
from tests.fakes.nebius import TUNABLE
from tests.fakes.simulator import running_simulator
from tests.fakes.valkey import Valkey
from tests.integration.service.conftest import DATASET, SECRET_KEY, Answer, Api, form
from tunehook import api_keys
from tunehook.context import open_context
from tunehook.jobs import lifecycle
from tunehook.model.job import FileRef, Job, JobError, JobSpec, Stage, UpstreamJob
from tunehook.openai_format.jobs import job_event_data
from tunehook.settings import Settings
from tunehook.store.engine import keys
from tunehook.store.jobs import JobRecord

GPT = "gpt-4.1-mini-2025-04-14"
TO_NEBIUS = {"model": TUNABLE, "upstream": "nebius"}


@pytest.fixture
async def api(valkey: Valkey, tmp_path: Path, contract: Contract) -> AsyncIterator[Api]:
    """With the upstreams openai, azure, fireworks, nebius and together; only openai answers."""
    async with running_simulator() as simulator:
        found = {
            "redis_url": valkey.url,
            "data_dir": tmp_path,
            "secret_key": SECRET_KEY,
            "openai_api_key": "sk-simulated",
            "openai_base_url": simulator.base_url,
            "fireworks_api_key": "k",
            "fireworks_account_id": "acme",
            "fireworks_base_url": "http://127.0.0.1:9",
            "nebius_api_key": "k",
            "nebius_base_url": "http://127.0.0.1:9/v1",
            "together_api_key": "k",
            "together_base_url": "http://127.0.0.1:9/v1",
            "webhook_allow": "127.0.0.1",
        }
        async with (
            open_context(Settings.model_validate(found)) as ctx,
            listening(build_app(ctx), "127.0.0.1", 0, most=1000) as [(host, port)],
            aiohttp.ClientSession() as session,
        ):
            key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="tests", name="tests")
            yield Api(f"http://{host}:{port}", key, session, contract, ctx, simulator)


async def uploaded(api: Api, content: bytes = DATASET) -> str:
    answer = await api.call("POST", "/v1/files", data=form(content))
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


async def source(api: Api, **members: Any) -> str:
    body = {"model": GPT, "training_file": await uploaded(api)} | members
    return str((await api.post("/v1/fine_tuning/jobs", body))["id"])


async def retrain(api: Api, job_id: str, body: dict[str, Any] | None = None, key: str = "", **more: Any) -> Answer:
    path = f"/v1/fine_tuning/jobs/{job_id}/retrain"
    return await api.call("POST", path, json=(TO_NEBIUS if body is None else body) | more, key=key)


async def retrained(api: Api, job_id: str, **more: Any) -> dict[str, Any]:
    answer = await retrain(api, job_id, **more)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


async def ended(api: Api, job_id: str, status: str) -> None:
    record = await api.ctx.store.jobs.read(job_id)
    error = JobError(code="x", message="y") if status == "failed" else None
    job = record.job.model_copy(update={"stage": Stage.SETTLED, "status": status, "settled_at": 1, "error": error})
    await api.ctx.store.commit(JobRecord(record.job, record.revision, record.now_ms, record.fields).change(job))


async def cancelled(api: Api, job_id: str) -> None:
    assert (await api.call("POST", f"/v1/fine_tuning/jobs/{job_id}/cancel")).status == 200
    await lifecycle.advance(api.ctx, job_id)


async def jobs(api: Api) -> list[str]:
    return [job["id"] for job in (await api.call("GET", "/v1/fine_tuning/jobs?limit=100")).json["data"]]


def left(job: dict[str, Any]) -> dict[str, str]:
    return {one["member"]: one["why"] for one in job.get("tunehook", job)["left_out"]}


async def test_data_method_suffix_and_metadata_are_the_sources(api: Api) -> None:
    validation = await uploaded(api, DATASET.replace(b"What", b"Where"))
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}}
    members = {"validation_file": validation, "method": method, "suffix": "marv", "metadata": {"team": "search"}}
    first = await source(api, **members)
    job = await retrained(api, first)
    assert job["model"] == TUNABLE
    assert job["tunehook"]["upstream"] == "nebius"
    assert job["tunehook"]["retrained_from"] == first
    assert job["tunehook"]["left_out"] == []
    assert job["tunehook"]["options"] == {"lora": True}
    assert job["metadata"] == {"team": "search"}
    assert job["validation_file"] == validation
    assert job["method"] == method
    [old, new] = [(await api.ctx.store.jobs.read(one)).job for one in (first, job["id"])]
    assert (new.training, new.spec.suffix) == (old.training, "marv")
    assert new.spec.seed != old.spec.seed


HYPERPARAMETERS = "method.supervised.hyperparameters"
LEFT_OUT: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("nebius", {"hyperparameters": {"learning_rate_multiplier": 2}}, {}, f"{HYPERPARAMETERS}.learning_rate_multiplier"),
    ("nebius", {"hyperparameters": {"batch_size": 200}}, {}, f"{HYPERPARAMETERS}.batch_size"),
    ("nebius", {"hyperparameters": {"n_epochs": 40}}, {}, f"{HYPERPARAMETERS}.n_epochs"),
    ("together", {"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, {}, "integrations"),
    ("openai", {"model": TUNABLE, "tunehook": {"upstream": "nebius", "options": {"lora_r": 16}}}, {"model": GPT},
     "tunehook.options.lora_r"),
]  # fmt: skip


@pytest.mark.parametrize(("upstream", "had", "asked", "member"), LEFT_OUT)
async def test_what_the_new_place_lacks_is_left_out_and_named(
    api: Api, upstream: str, had: dict[str, Any], asked: dict[str, Any], member: str
) -> None:
    first = await source(api, **had)
    model = {"together": "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"}.get(upstream, TUNABLE)
    body = {"model": model, "upstream": upstream} | asked
    dry = (await retrain(api, first, body | {"dry_run": True})).json
    job = await retrained(api, first, **body)
    assert list(left(job)) == [member]
    assert left(job)[member]
    assert left(dry) == left(job)
    assert left((await api.call("GET", f"/v1/fine_tuning/jobs/{job['id']}")).json) == left(job)


async def test_what_is_asked_for_instead_is_taken_and_not_left_out(api: Api) -> None:
    first = await source(api, hyperparameters={"n_epochs": 40, "batch_size": 4})
    job = await retrained(api, first, hyperparameters={"n_epochs": 3})
    assert job["method"]["supervised"]["hyperparameters"] == {"n_epochs": 3, "batch_size": 4}
    assert left(job) == {}
    refused = await retrain(api, first, options={"lora_r": 8}, hyperparameters={"n_epochs": 40})
    assert (refused.status, refused.error["param"]) == (400, "method.supervised.hyperparameters.n_epochs")


async def test_a_method_that_the_new_place_lacks_is_refused(api: Api) -> None:
    answers = ("preferred_output", "non_preferred_output")
    lines = [
        {"input": {"messages": [{"role": "user", "content": f"{n}?"}]}}
        | {name: [{"role": "assistant", "content": f"{name} {n}"}] for name in answers}
        for n in range(12)
    ]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    first = await source(api, training_file=await uploaded(api, content), method={"type": "dpo"})
    refused = await retrain(api, first)
    assert (refused.status, refused.error["param"]) == (400, "method.type")
    assert "supervised, not by dpo" in refused.error["message"]
    dry = (await retrain(api, first, dry_run=True)).json
    assert (dry["fits"], dry["creates"], dry["error"]) == (False, False, refused.error)
    assert len(await jobs(api)) == 1


async def imported(api: Api, **changes: Any) -> str:
    """A job that an import took over and whose training file was kept."""
    file = await api.ctx.store.files.read(await uploaded(api), "tests")
    ours = FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes)
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3, "seen_by": None, "odd": 7}}}
    name = f"ft:{GPT}:acme:marv:abc"
    seen = UpstreamJob(id="ftjob-up", status="succeeded", model=GPT, fine_tuned_model=name, validation_file="file-v")
    job = Job(
        id="ftjob-imported",
        project="tests",
        key_id="k",
        created_at=1,
        spec=JobSpec(
            model=GPT,
            training_file=file.id,
            seed=3,
            method=method,
            hyperparameters={"n_epochs": 3},
            metadata={f"k{n}": "v" for n in range(16)},
        ),
        upstream="openai",
        upstream_job_id="ftjob-up",
        training=ours,
        seen=seen,
    ).model_copy(update=changes)
    await api.ctx.store.commit(api.ctx.store.jobs.submission(job))
    return job.id


async def test_an_imported_job_gives_what_the_upstream_told(api: Api) -> None:
    job = await retrained(api, await imported(api))
    assert job["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}}
    assert len(job["metadata"]) == 15
    assert set(left(job)) == {"validation_file", f"{HYPERPARAMETERS}.odd", "metadata.k15"}
    assert '"keep_dataset": true' in left(job)["validation_file"]
    assert (await api.ctx.store.jobs.read(job["id"])).job.spec.suffix == "marv"


async def test_a_job_whose_dataset_is_at_its_upstream_alone_says_how_to_bring_it_home(api: Api) -> None:
    there = FileRef(id="upstream:file-1", sha256="", bytes=0)
    refused = await retrain(api, await imported(api, training=there))
    assert (refused.status, refused.error["code"]) == (400, "invalid_file")
    assert '{"upstream": "openai", "upstream_job_id": "ftjob-up", "keep_dataset": true}' in refused.error["message"]


async def test_a_dataset_that_was_deleted_is_said(api: Api) -> None:
    first = await source(api)
    file_id = (await api.ctx.store.jobs.read(first)).job.training.id
    await cancelled(api, first)
    assert (await api.call("DELETE", f"/v1/files/{file_id}")).status == 200
    deleted = await retrain(api, first)
    assert (deleted.status, deleted.error["code"]) == (400, "invalid_file")
    assert "was deleted" in deleted.error["message"]


async def test_another_projects_job_is_as_unknown(api: Api) -> None:
    first = await source(api)
    other, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project="others", name="o")
    for dry in (False, True):
        refused = await retrain(api, first, key=other, dry_run=dry)
        unknown = await retrain(api, "ftjob-nobody", key=other, dry_run=dry)
        assert refused.status == unknown.status == 404
        assert refused.error["message"].replace(first, "X") == unknown.error["message"].replace("ftjob-nobody", "X")


async def test_unknown_upstreams_and_members_are_refused_with_the_nearest(api: Api) -> None:
    first = await source(api)
    refused = await retrain(api, first, upstream="nebious")
    assert (refused.status, refused.error["code"], refused.error["param"]) == (400, "unknown_upstream", "upstream")
    assert "Did you mean nebius?" in refused.error["message"]
    assert "Did you mean dry_run?" in (await retrain(api, first, dryrun=True)).error["message"]
    assert "Did you mean lora_r?" in (await retrain(api, first, options={"lora_rr": 8})).error["message"]
    assert (await retrain(api, first, {"model": TUNABLE})).error["code"] == "missing_required_parameter"
    unknown = await retrain(api, first, {"model": "gpt-4.1-mimi-2025-04-14", "upstream": "openai"})
    assert (unknown.status, unknown.error["code"]) == (400, "model_not_found")
    assert GPT in unknown.error["message"]


async def test_twenty_at_once_make_one_job(api: Api) -> None:
    first = await source(api)
    made = await asyncio.gather(*(retrained(api, first) for _ in range(20)))
    assert len({job["id"] for job in made}) == 1
    assert len(await jobs(api)) == 2


async def test_each_wish_is_one_job(api: Api) -> None:
    first = await source(api)
    wishes: list[dict[str, Any]] = [{}, {"options": {"lora_r": 16}}, {"upstream": "openai", "model": GPT}]
    made = [(await retrained(api, first, **wish))["id"] for wish in wishes]
    assert len(set(made)) == 3
    assert [(await retrained(api, first, **wish))["id"] for wish in wishes] == made
    of_one = await retrained(api, made[0])
    assert of_one["tunehook"]["retrained_from"] == made[0]
    assert of_one["id"] not in made
    differs = await retrain(api, first, hyperparameters={"n_epochs": 9})
    assert (differs.status, differs.error["code"]) == (409, "retrain_differs")
    assert made[0] in differs.error["message"]
    differs = await retrain(api, first, n_epochs_if_auto=9)
    assert (differs.status, differs.error["code"]) == (409, "retrain_differs")


async def test_a_wish_in_another_form_is_the_same_wish(api: Api) -> None:
    forms: list[dict[str, Any]] = [
        {"options": {"learning_rate": 1}}, {"options": {"learning_rate": 1.0}},
        {"options": {"learning_rate": 1, "lora": True}},
    ]  # fmt: skip
    first = await source(api)
    asked = await asyncio.gather(*(retrained(api, first, **form) for form in forms))
    assert len({made["id"] for made in asked}) == 1
    undated = GPT.removesuffix("-2025-04-14")
    names = [undated, GPT, undated, "gpt-4.1-mini-2026-01-01", undated, "gpt-4.1-mini-2026-01-01", GPT]
    made = [(await retrained(api, first, upstream="openai", model=name))["id"] for name in names]
    assert [made.index(one) for one in made] == [0, 0, 0, 0, 0, 0, 0]  # the first asked for no snapshot


async def test_two_snapshots_are_two_wishes_also_at_one_moment(api: Api) -> None:
    first = await source(api)
    names = [GPT, "gpt-4.1-mini-2026-01-01"] * 3
    asked = await asyncio.gather(*(retrained(api, first, upstream="openai", model=name) for name in names))
    assert len({made["id"] for made in asked}) == 2
    assert {(made["id"], made["model"]) for made in asked} == {
        (made["id"], name) for made, name in zip(asked, names, strict=True)
    }
    undated = (await retrained(api, first, upstream="openai", model="gpt-4.1-mini"))["id"]
    assert undated in {made["id"] for made in asked}


async def test_a_wish_of_an_earlier_version_is_found(api: Api) -> None:
    """It was stored as it was written."""
    first, other = await source(api), await source(api)
    options = {"lora": True, "learning_rate": 1.0}
    wished = json.dumps([TO_NEBIUS["upstream"], TO_NEBIUS["model"], options], sort_keys=True, ensure_ascii=False)
    held = (await retrained(api, other))["id"]
    await api.ctx.store.redis.set(keys.wish(first, hashlib.sha256(wished.encode()).hexdigest()), held)
    assert (await retrained(api, first, options=options))["id"] == held


async def test_epochs_that_are_auto_get_a_number_and_so_an_estimate(api: Api) -> None:
    automatic, fixed = await source(api), await source(api, hyperparameters={"n_epochs": 2})
    for first, epochs in ((automatic, 4), (fixed, 2)):
        dry = await retrained(api, first, dry_run=True, n_epochs_if_auto=4)
        assert dry["estimate"]["n_epochs"] == epochs
        made = (await retrained(api, first, n_epochs_if_auto=4))["id"]
        assert (await retrained(api, first, n_epochs_if_auto=4))["id"] == made
    assert (await retrain(api, automatic, n_epochs_if_auto=5)).error["code"] == "retrain_differs"
    both = await retrain(api, automatic, n_epochs_if_auto=4, method={"type": "supervised"})
    assert (both.status, both.error["code"]) == (400, "invalid_value")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_failed_one_is_repeated_when_asked_and_once(api: Api, end: str) -> None:
    first = await source(api)
    one = (await retrained(api, first))["id"]
    assert (await retrained(api, first, again=True))["id"] == one  # it runs
    await ended(api, one, end)
    assert (await retrained(api, first))["id"] == one
    dry = (await retrain(api, first, dry_run=True, again=True)).json
    assert (dry["existing"], dry["creates"]) == ({"id": one, "status": end}, True)
    made = await asyncio.gather(*(retrained(api, first, again=True) for _ in range(20)))
    [two] = {job["id"] for job in made}
    assert two != one
    assert (await retrained(api, first, again=True))["id"] == two
    await ended(api, two, end)
    assert (await retrained(api, first, again=True))["id"] not in (one, two)
    assert len(await jobs(api)) == 4


async def test_a_retrain_whose_job_was_deleted_is_not_paid_twice_unasked(api: Api) -> None:
    first = await source(api)
    one = (await retrained(api, first))["id"]
    await ended(api, one, "succeeded")
    assert await api.ctx.store.deletion.delete_job(await api.ctx.store.jobs.read(one))
    refused = await retrain(api, first)
    assert (refused.status, refused.error["param"]) == (400, "again")
    assert one in refused.error["message"]
    two = (await retrained(api, first, again=True))["id"]
    assert (await retrained(api, first))["id"] == two


async def test_with_the_source_all_that_was_kept_of_its_retrains_goes(api: Api) -> None:
    first = await source(api)
    await retrained(api, first)
    await ended(api, first, "succeeded")
    assert await api.ctx.store.deletion.delete_job(await api.ctx.store.jobs.read(first))
    assert [key async for key in api.ctx.store.redis.scan_iter("th:wish*")] == []
    assert (await retrain(api, first)).status == 404


async def test_a_dry_run_tells_the_cost_and_makes_nothing(api: Api) -> None:
    first = await source(api, hyperparameters={"n_epochs": 3})
    dry = (await retrain(api, first, dry_run=True)).json
    assert (dry["fits"], dry["creates"], dry["existing"], dry["error"]) == (True, True, None, None)
    assert dry["estimate"]["cost_usd"] is not None
    assert await jobs(api) == [first]
    one = (await retrained(api, first))["id"]
    dry = (await retrain(api, first, dry_run=True)).json
    assert (dry["fits"], dry["creates"], dry["existing"]["id"]) == (True, False, one)


async def test_a_limit_of_cost_holds(api: Api) -> None:
    first = await source(api, hyperparameters={"n_epochs": 3})
    dry = (await retrain(api, first, dry_run=True, max_cost_usd=0)).json
    assert (dry["fits"], dry["error"]["code"]) == (False, "cost_above_limit")
    refused = await retrain(api, first, max_cost_usd=0)
    assert (refused.status, refused.error["code"]) == (400, "cost_above_limit")
    assert (await retrain(api, first, max_cost_usd=5)).status == 200


async def test_a_webhook_names_the_source(api: Api) -> None:
    first = await source(api)
    record = await api.ctx.store.jobs.read((await retrained(api, first))["id"])
    told = job_event_data(record.job, revision=record.revision)
    assert told["tunehook"]["retrained_from"] == first
