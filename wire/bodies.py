"""The bodies that OpenAI's API takes, member by member.  (pure)

From OpenAI's description of 2026-08-21 and the published limits; whatever is not here is refused."""

from collections.abc import Mapping
from typing import Any

from wire.checking import Check, array, auto_or, boolean, integer, metadata, nullable, number, one_of, table, text
from wire.problems import bad

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")

EXPIRES_AFTER = table(
    {"anchor": one_of("created_at"), "seconds": integer(least=3600, most=2592000)}, required=("anchor", "seconds")
)

FILE_FORM = table({"purpose": one_of(*PURPOSES), "expires_after": EXPIRES_AFTER}, required=("purpose",))

UPLOAD = table(
    {
        "filename": text(least=1),
        "purpose": one_of(*PURPOSES),
        "bytes": integer(least=1, most=8 * 2**30),
        "mime_type": text(least=1),
        "expires_after": EXPIRES_AFTER,
    },
    required=("filename", "purpose", "bytes", "mime_type"),
)

COMPLETE_UPLOAD = table({"part_ids": array(text(least=1)), "md5": text()}, required=("part_ids",))

_SUPERVISED: dict[str, Check] = {
    "batch_size": auto_or(integer(least=1, most=256)),
    "learning_rate_multiplier": auto_or(number(above=0)),
    "n_epochs": auto_or(integer(least=1, most=50)),
}
_DPO: dict[str, Check] = {**_SUPERVISED, "beta": auto_or(number(above=0, most=2))}
_REINFORCEMENT: dict[str, Check] = {
    **_SUPERVISED,
    "reasoning_effort": one_of("default", "low", "medium", "high"),
    "compute_multiplier": auto_or(number(above=0.00001, most=10)),
    "eval_interval": auto_or(integer(least=1)),
    "eval_samples": auto_or(integer(least=1)),
}

_METRICS = ("cosine", "fuzzy_match", "bleu", "gleu", "meteor", "rouge_l", *(f"rouge_{n}" for n in range(1, 6)))
_NAMED: dict[str, Check] = {"type": text(), "name": text(least=1)}
_GRADERS: dict[str, Check] = {
    "string_check": table(
        {**_NAMED, "input": text(), "reference": text(), "operation": one_of("eq", "ne", "like", "ilike")},
        required=("type", "name", "input", "reference", "operation"),
    ),
    "text_similarity": table(
        {
            **_NAMED,
            "input": text(),
            "reference": text(),
            "evaluation_metric": one_of(*_METRICS),
            "pass_threshold": number(),
        },
        required=("type", "name", "input", "reference", "evaluation_metric"),
    ),
    "python": table({**_NAMED, "source": text(least=1), "image_tag": text()}, required=("type", "name", "source")),
    "score_model": table({"model": text(least=1)}, required=("type", "name", "model", "input"), open_=True),
    "label_model": table({"model": text(least=1)}, required=("type", "name", "model", "input"), open_=True),
}


def grader(value: object, name: str) -> None:
    """Any of the graders, `multi` included: its `graders` are an object of graders by name (recorded)."""
    table({"type": one_of(*_GRADERS, "multi")}, required=("type",), open_=True)(value, name)
    if not isinstance(value, dict):
        return
    if value["type"] != "multi":
        _GRADERS[value["type"]](value, name)
        return
    table(
        {**_NAMED, "graders": _several, "calculate_output": text(least=1)},
        required=("type", "name", "graders", "calculate_output"),
    )(value, name)


def _several(value: object, name: str) -> None:
    table({}, open_=True)(value, name)
    if isinstance(value, dict):
        for key, inner in value.items():
            grader(inner, f"{name}.{key}")


RUN_GRADER = table(
    {"grader": grader, "item": table({}, open_=True), "model_sample": text()}, required=("grader", "model_sample")
)
VALIDATE_GRADER = table({"grader": grader}, required=("grader",))

_METHOD = table(
    {
        "type": one_of("supervised", "dpo", "reinforcement"),
        "supervised": table({"hyperparameters": table(_SUPERVISED)}),
        "dpo": table({"hyperparameters": table(_DPO)}),
        "reinforcement": table({"grader": grader, "hyperparameters": table(_REINFORCEMENT)}, required=("grader",)),
    },
    required=("type",),
)

_INTEGRATION = table(
    {
        "type": one_of("wandb"),
        "wandb": table(
            {"project": text(least=1), "name": nullable(text()), "entity": nullable(text()), "tags": array(text())},
            required=("project",),
        ),
    },
    required=("type", "wandb"),
)


def job_body(longest_suffix: int, more: Mapping[str, Check] | None = None) -> Check:
    """The members of `POST /fine_tuning/jobs`, and those that one server has of its own (`more`)."""
    return table(
        {
            "model": text(least=1),
            "training_file": text(least=1),
            "validation_file": nullable(text(least=1)),
            "hyperparameters": table(_SUPERVISED),
            "suffix": nullable(text(least=1, most=longest_suffix)),
            "integrations": nullable(array(_INTEGRATION, most=5)),
            "seed": nullable(integer(least=0, most=2147483647)),
            "method": _METHOD,
            "metadata": nullable(metadata),
            **(more or {}),
        },
        required=("model", "training_file"),
    )


def check_job(body: dict[str, Any], members: Check) -> None:
    """Raises Problem 400 for a `POST /fine_tuning/jobs` body that the API would refuse unseen.

    `members`: made by `job_body`."""
    members(body, "")
    method = body.get("method")
    if method is None:
        return
    for kind in ("supervised", "dpo", "reinforcement"):
        if kind != method["type"] and kind in method:
            words = f"'method.{kind}' does not go with method.type '{method['type']}'."
            raise bad(words, param=f"method.{kind}", code="invalid_value")
    if "hyperparameters" in body:
        words = "Cannot specify both 'hyperparameters' and 'method'; 'hyperparameters' is deprecated."
        raise bad(words, param="hyperparameters", code="invalid_value")
    if method["type"] == "reinforcement":
        if "reinforcement" not in method:
            words = "Missing required parameter: 'method.reinforcement'."
            raise bad(words, param="method.reinforcement", code="missing_required_parameter")
        if not body.get("validation_file"):
            words = "A validation file is required for reinforcement fine-tuning."
            raise bad(words, param="validation_file", code="missing_required_parameter")


CHAT = table(
    {
        "model": text(least=1),
        "messages": array(table({"role": text(least=1)}, required=("role",), open_=True), least=1),
        "stream": nullable(boolean),
        "n": nullable(integer(least=1, most=128)),
        "temperature": nullable(number(least=0, most=2)),
        "top_p": nullable(number(least=0, most=1)),
        "max_tokens": nullable(integer(least=1)),
        "max_completion_tokens": nullable(integer(least=1)),
        "metadata": nullable(metadata),
    },
    required=("model", "messages"),
    # The chat body has some forty members that have nothing to do with tuning: let them pass.
    open_=True,
)

RESPONSE = table(
    {
        "model": text(least=1),
        "stream": nullable(boolean),
        "store": nullable(boolean),
        "temperature": nullable(number(least=0, most=2)),
        "metadata": nullable(metadata),
    },
    required=("model", "input"),
    # As with the chat.
    open_=True,
)


def asked(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method and its hyperparameters, from `method` or from the deprecated member."""
    method = body.get("method")
    if method is None:
        return "supervised", body.get("hyperparameters", {})
    return method["type"], method.get(method["type"], {}).get("hyperparameters", {})
