"""What a job will cost, before and after."""

import json
from typing import Any

import pytest

from tests.e2e.datasets.conftest import MODEL, Owner
from tests.e2e.datasets.test_checking import fresh
from tests.fakes.patience import eventually
from tests.unit.dataset.lines import jsonl
from tunehook.dataset.checker import Checker
from tunehook.dataset.estimate import default_epochs


def tokens_of(content: bytes) -> int:
    checker = Checker(model=MODEL)
    checker.feed(content)
    found = checker.finish().tokens
    assert found is not None
    return found.total


async def job_with_estimate(owner: Owner, job_id: str) -> dict[str, Any]:
    """The job as soon as its tokens are counted."""
    _, job = await eventually(
        lambda: owner.ask("GET", f"/fine_tuning/jobs/{job_id}"),
        lambda answer: answer[0] == 200 and answer[1]["tunehook"]["estimate"] is not None,
    )
    return job


async def test_the_estimate_is_by_our_own_prices_and_makes_nothing(owner: Owner) -> None:
    content = fresh(60)
    body: dict[str, Any] = {"model": MODEL, "training_file": await owner.upload(content)}
    status, told = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=body)
    assert status == 200, told
    billed = tokens_of(content) * default_epochs(60)
    assert (told["examples"], told["tokens"], told["billed_tokens"]) == (60, tokens_of(content), billed)
    assert told["n_epochs"] == default_epochs(60) == 3
    assert told["cost_usd"] == round(4 * billed / 1e6, 4)
    price = {"usd_per_million_tokens": 4.0, "usd_per_hour": None, "source": "our contract", "as_of": "2026-11-01"}
    assert told["price"] == price
    assert any("2027-01-14" in warning for warning in told["warnings"]), "the upstream lists when the model ends"
    assert (await owner.client.fine_tuning.jobs.list()).data == []
    body["method"] = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 7}}}
    _, again = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=body)
    assert again["billed_tokens"] == tokens_of(content) * 7


async def test_a_job_keeps_its_estimate_and_at_the_end_what_it_cost(owner: Owner) -> None:
    content = fresh(20)
    job = await owner.client.fine_tuning.jobs.create(model=MODEL, training_file=await owner.upload(content))
    found = await job_with_estimate(owner, job.id)
    billed = tokens_of(content) * default_epochs(20)
    assert found["tunehook"]["estimate"]["billed_tokens"] == billed
    assert found["tunehook"]["estimate"]["usd"] == round(4 * billed / 1e6, 4)
    ended = await owner.ended(job.id)
    assert ended["status"] == "succeeded"
    cost = ended["tunehook"]["cost"]
    assert cost["billed_tokens"] == ended["trained_tokens"] == billed
    assert cost["usd"] == round(4 * ended["trained_tokens"] / 1e6, 4)
    assert ended["tunehook"]["estimate"] == found["tunehook"]["estimate"]


async def test_a_second_job_on_the_file_has_its_estimate_at_once(owner: Owner) -> None:
    file_id = await owner.upload(fresh(20))
    status, _ = await owner.ask("POST", "/fine_tuning/jobs/estimate", json={"model": MODEL, "training_file": file_id})
    assert status == 200
    status, job = await owner.ask("POST", "/fine_tuning/jobs", json={"model": MODEL, "training_file": file_id})
    assert status == 200
    assert job["tunehook"]["estimate"]["billed_tokens"] > 0
    assert job["tunehook"]["cost"] is None


async def test_a_job_above_its_limit_is_refused_with_the_estimate(owner: Owner) -> None:
    content = fresh(20)
    usd = 4 * tokens_of(content) * default_epochs(20) / 1e6
    asked = {"model": MODEL, "training_file": await owner.upload(content)}
    below = {**asked, "tunehook": {"max_cost_usd": usd * 0.9}}
    message = await owner.refused(400, "cost_above_limit", "/fine_tuning/jobs", **below)
    assert f"{tokens_of(content) * default_epochs(20):,} billed tokens" in message
    assert (await owner.client.fine_tuning.jobs.list()).data == []
    above = {**asked, "tunehook": {"max_cost_usd": usd * 1.1}}
    status, job = await owner.ask("POST", "/fine_tuning/jobs", json=above)
    assert status == 200
    assert job["tunehook"]["estimate"]["usd"] == round(usd, 4)


async def test_amounts_have_as_many_digits_as_they_need(owner: Owner) -> None:
    asked = {"model": MODEL, "training_file": await owner.upload(fresh(20)), "tunehook": {"max_cost_usd": 0.001}}
    message = await owner.refused(400, "cost_above_limit", "/fine_tuning/jobs", **asked)
    assert "above the limit of 0.001 USD" in message


@pytest.mark.parametrize(
    ("model", "near"),
    [
        ("gpt-4.1-minni", "did you mean gpt-4.1-mini?"),
        ("gpt-4.1-minni-2025-04-14", "did you mean gpt-4.1-mini"),
        ("claude-3-haiku", "is not a model that we know. The"),
        ("gpt-4.1-2", "did you mean gpt-4.1"),
    ],
)
async def test_a_model_that_nobody_knows_is_refused_with_the_nearest(owner: Owner, model: str, near: str) -> None:
    asked = {"model": model, "training_file": await owner.upload(fresh(12))}
    for path in ("/fine_tuning/jobs", "/fine_tuning/jobs/estimate"):
        message = await owner.refused(400, "model_not_found", path, **asked)
        assert message.startswith(f"`{model}` is not a model that we know")
        assert near in message


async def test_a_model_that_its_upstream_lists_or_we_price_is_taken(owner: Owner) -> None:
    file_id = await owner.upload(fresh(12))
    for model in ("gpt-5", "gpt-4.1-mini"):
        status, found = await owner.ask("POST", "/fine_tuning/jobs", json={"model": model, "training_file": file_id})
        assert (status, found["model"]) == (200, model)


@pytest.mark.parametrize("method", [None, "supervised", "dpo"])
async def test_a_model_that_is_trained_one_way_only_is_trained_that_way(owner: Owner, method: str | None) -> None:
    asked: dict[str, Any] = {"model": "o4-mini-2025-04-16", "training_file": await owner.upload(fresh(12))}
    if method is not None:
        asked["method"] = {"type": method}
    message = await owner.refused(400, "invalid_value", "/fine_tuning/jobs", **asked)
    assert "o4-mini-2025-04-16 is trained by reinforcement alone" in message


async def test_a_limit_that_nobody_can_hold_is_refused(owner: Owner) -> None:
    limit = {"max_cost_usd": 1000}
    unknown = {"model": "gpt-5", "training_file": await owner.upload(fresh(12)), "tunehook": limit}
    assert "No price" in await owner.refused(400, "cost_above_limit", "/fine_tuning/jobs", **unknown)
    elsewhere = {"model": MODEL, "training_file": "upstream:file-abc", "tunehook": limit}
    assert "not here" in await owner.refused(400, "cost_above_limit", "/fine_tuning/jobs", **elsewhere)
    broken = {"model": MODEL, "training_file": unknown["training_file"], "tunehook": {"max_cost_usd": -1}}
    await owner.refused(400, "invalid_value", "/fine_tuning/jobs", **broken)


async def test_validating_on_what_is_trained_on_is_told(owner: Owner) -> None:
    content = fresh(20)
    lines = [json.loads(line) for line in content.splitlines()]
    validation = await owner.upload(fresh(2) + jsonl(*lines[3:6]))
    asked = {"model": MODEL, "training_file": await owner.upload(content), "validation_file": validation}
    told = "3 of 5 validation examples are in the training file too; the first is in line 3."
    _, estimate = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=asked)
    assert told in estimate["warnings"]
    _, job = await owner.ask("POST", "/fine_tuning/jobs", json=asked)

    async def warned() -> list[str]:
        events = owner.client.fine_tuning.jobs.list_events(job["id"])
        return [event.message async for event in events if event.level == "warn"]

    await eventually(warned, lambda messages: told in messages)


async def test_an_account_that_may_not_train_any_more_is_told_before_the_next_job(owner: Owner) -> None:
    file_id = await owner.upload(fresh(12))
    job = await owner.client.fine_tuning.jobs.create(
        model=MODEL, training_file=file_id, metadata={"simulate": "training_not_available"}
    )
    ended = await owner.ended(job.id)
    assert (ended["status"], ended["error"]["code"]) == ("failed", "training_not_available")
    assert ended["tunehook"]["cost"] is None
    named = {"tunehook": {"upstream": "openai"}}  # a job that names none goes to the next that has the model
    asked = {"model": MODEL, "training_file": file_id}
    _, told = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=asked | named)
    assert any("training_not_available" in warning for warning in told["warnings"])
    job = await owner.client.fine_tuning.jobs.create(model=MODEL, training_file=file_id, extra_body=named)
    assert (await owner.ended(job.id))["status"] == "succeeded"
    _, told = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=asked)
    assert not any("training_not_available" in warning for warning in told["warnings"])
