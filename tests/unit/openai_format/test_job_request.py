"""What `POST …/fine_tuning/jobs` takes, and how it says no."""

import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.fine_tuning import job_create_params

from tunehook.errors import InvalidParameter, MissingParameter, UnknownParameter
from tunehook.openai_format.job_request import JobRequest
from tunehook.openai_format.request_model import parse_as

LEAST: dict[str, Any] = {"model": "gpt-4.1-mini", "training_file": "file-1"}
GRADER = {"type": "string_check", "name": "g", "input": "a", "operation": "eq", "reference": "a"}


def reinforcement(grader: dict[str, Any]) -> dict[str, Any]:
    return {"method": {"type": "reinforcement", "reinforcement": {"grader": grader}}}


MULTI = {"type": "multi", "name": "all", "calculate_output": "g"}
GOOD: list[dict[str, Any]] = [
    {},
    {"suffix": "x" * 64, "seed": 0, "validation_file": "file-2"},
    {"seed": 2**31 - 1, "metadata": {"k" * 64: "v" * 512}},
    {"metadata": {f"k{n}": "" for n in range(15)}},
    {"hyperparameters": {"n_epochs": "auto", "batch_size": 256, "learning_rate_multiplier": 0.1}},
    {"hyperparameters": {}},
    {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50}}}},
    {"method": {"type": "supervised"}},
    {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 2, "n_epochs": 1}}}},
    {"method": {"type": "reinforcement", "reinforcement": {"grader": GRADER}}},
    {
        "method": {
            "type": "reinforcement",
            "reinforcement": {
                "grader": GRADER,
                "hyperparameters": {"reasoning_effort": "low", "eval_interval": 5, "compute_multiplier": 0.5},
            },
        }
    },
    reinforcement({"type": "multi", "name": "all", "graders": {"g": GRADER}, "calculate_output": "g"}),
    reinforcement({"type": "score_model", "name": "s", "model": "o3", "input": [{"role": "user", "content": "x"}]}),
    {"integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a"], "entity": None}}]},
    {"callback_url": "https://you.example/hooks", "tunehook": {"upstream": "azure"}},
    {name: None for name in ("suffix", "seed", "method", "metadata", "hyperparameters", "integrations", "tunehook")},
]
BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"model": ""}, "model", "at least 1 character"),
    ({"model": 4}, "model", "string"),
    ({"model": "m" * 257}, "model", "256"),
    ({"suffix": ""}, "suffix", "at least 1"),
    ({"suffix": "x" * 65}, "suffix", "64"),
    ({"seed": -1}, "seed", "0 or more"),
    ({"seed": 2**31}, "seed", str(2**31 - 1)),
    ({"seed": "1"}, "seed", "must be a whole number"),
    ({"seed": True}, "seed", "must be a whole number"),
    ({"seed": 1.0}, "seed", "must be a whole number"),
    ({"metadata": {"k": 1}}, "metadata.k", "string"),
    ({"metadata": {"": "v"}}, "metadata", "1 to 64"),
    ({"metadata": {"k" * 65: "v"}}, "metadata", "1 to 64"),
    ({"metadata": {"k": "v" * 513}}, "metadata", "512"),
    ({"metadata": {f"k{n}": "" for n in range(16)}}, "metadata", "15 are the most"),
    ({"metadata": {"tunehook": "mine/ftjob-1"}}, "metadata", "reserved for this service"),
    ({"metadata": []}, "metadata", "must be an object"),
    ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "1 to 50"),
    ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "1 to 50"),
    ({"hyperparameters": {"n_epochs": 2.5}}, "hyperparameters.n_epochs", "whole number"),
    ({"hyperparameters": {"n_epochs": True}}, "hyperparameters.n_epochs", "whole number"),
    ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "auto"),
    ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "1 to 256"),
    ({"hyperparameters": {"learning_rate_multiplier": 0}}, "hyperparameters.learning_rate_multiplier", "above 0"),
    ({"hyperparameters": {}, "method": {"type": "supervised"}}, "body", "'method' only"),
    ({"method": {"type": "magic"}}, "method.type", "supervised"),
    ({"method": {"type": "dpo", "supervised": {}}}, "method", "must not have the member 'supervised'"),
    ({"method": {"type": "reinforcement"}}, "method", "grader"),
    (
        {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 3}}}},
        "method.dpo.hyperparameters.beta",
        "at most 2",
    ),
    (reinforcement(MULTI | {"graders": GRADER}), "method.reinforcement.grader.graders", "graders by name"),
    (reinforcement(MULTI | {"graders": [GRADER]}), "method.reinforcement.grader.graders", "graders by name"),
    (reinforcement(MULTI | {"graders": "g"}), "method.reinforcement.grader.graders", "graders by name"),
    (reinforcement(MULTI), "method.reinforcement.grader", "needs 'graders'"),
    (reinforcement(MULTI | {"graders": {}}), "method.reinforcement.grader", "needs 'graders'"),
    (
        reinforcement(MULTI | {"graders": {"g": {"type": "string_check", "name": "g", "input": "a"}}}),
        "method.reinforcement.grader.graders.g",
        "needs 'operation' and 'reference'",
    ),
    (reinforcement({"type": "python", "name": "p"}), "method.reinforcement.grader", "needs 'source'"),
    (
        reinforcement(MULTI | {"graders": {"g": MULTI | {"graders": {"g": GRADER}}}}),
        "method.reinforcement.grader.graders.g.type",
        "label_model",
    ),
    ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}] * 6}, "integrations", "5"),
    ({"integrations": [{"type": "slack"}]}, "integrations.0.type", "wandb"),
    ({"tunehook": {"upstream": ""}}, "tunehook.upstream", "at least 1"),
    ({"callback_url": 1}, "callback_url", "string"),
]


@pytest.mark.parametrize("extra", GOOD)
def test_what_the_sdk_sends_is_taken(extra: dict[str, Any]) -> None:
    request = parse_as(JobRequest, LEAST | extra)
    assert request.model_dump(exclude_none=True) == _without_nulls(LEAST | extra)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def test_every_parameter_of_the_sdk_is_known() -> None:
    assert set(get_type_hints(job_create_params.JobCreateParams)) <= set(JobRequest.model_fields)
    methods = get_type_hints(job_create_params.Method)
    assert set(methods) == {"type", "supervised", "dpo", "reinforcement"}
    assert set(get_args(methods["type"])) == {"supervised", "dpo", "reinforcement"}


@pytest.mark.parametrize(("extra", "param", "why"), BAD)
def test_what_is_wrong_is_named_with_its_path_and_a_reason(extra: dict[str, Any], param: str, why: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_as(JobRequest, LEAST | extra)
    assert refused.value.param == param
    assert why in refused.value.message


@pytest.mark.parametrize("name", LEAST)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(MissingParameter) as refused:
        parse_as(JobRequest, {other: value for other, value in LEAST.items() if other != name})
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("extra", "param", "meant"),
    [
        ({"n_epochs": 3}, "n_epochs", "hyperparameters.n_epochs"),
        ({"n_epoch": 3}, "n_epoch", "hyperparameters.n_epochs"),
        ({"hyperparameters": {"epochs": 3}}, "hyperparameters.epochs", "hyperparameters.n_epochs"),
        ({"callback": "https://you.example"}, "callback", "callback_url"),
        ({"callbackUrl": "https://you.example"}, "callbackUrl", "callback_url"),
        ({"max_cost_usd": 5}, "max_cost_usd", "tunehook.max_cost_usd"),
        ({"tunehook": {"upstrem": "x"}}, "tunehook.upstrem", "tunehook.upstream"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"betta": 1}}}},
            "method.dpo.hyperparameters.betta",
            "method.dpo.hyperparameters.beta",
        ),
        ({"zzz": 1}, "zzz", None),
    ],
)
def test_what_is_unknown_is_named_with_the_nearest(extra: dict[str, Any], param: str, meant: str | None) -> None:
    with pytest.raises(UnknownParameter) as refused:
        parse_as(JobRequest, LEAST | extra)
    assert refused.value.param == param
    asked = f" Did you mean {meant}?" if meant else ""
    assert refused.value.message == f"Unknown parameter: '{param}'.{asked}"


def test_what_only_pythons_sdk_knows_is_explained() -> None:
    with pytest.raises(UnknownParameter, match="write what is in it beside the rest"):
        parse_as(JobRequest, LEAST | {"extra_body": {"callback_url": "https://you.example"}})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from([*JobRequest.model_fields, "type", "supervised", "dpo", "reinforcement", "n_epochs", "other"])
NESTED = st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON, max_size=3), max_size=5)


@given(NESTED, st.booleans())
def test_any_object_is_taken_or_refused_as_an_invalid_parameter(body: dict[str, Any], complete: bool) -> None:
    refused: InvalidParameter | None = None
    try:
        request = parse_as(JobRequest, LEAST | body if complete else body)
    except InvalidParameter as error:
        refused = error
    else:
        json.dumps(request.model_dump())
    assert refused is None or (refused.param is not None and 0 < len(refused.message) < 1000)


@pytest.mark.parametrize(
    "body",
    [
        {**LEAST, "k" * 1_000_000: 1},
        {**LEAST, "hyperparameters": {"n_epochs": "x" * 1_000_000}},
        {**LEAST, "hyperparameters": {"k" * 1_000_000: 1}},
        {**LEAST, "tunehook": {"max_cost_usd": 10**4000}},
    ],
)
def test_an_error_does_not_repeat_a_megabyte(body: dict[str, Any]) -> None:
    with pytest.raises((InvalidParameter, UnknownParameter)) as refused:
        parse_as(JobRequest, body)
    assert len(refused.value.message) + len(refused.value.param or "") < 1000
