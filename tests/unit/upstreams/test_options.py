"""Options: what each kind takes, with its defaults, and what is said of anything else."""

from typing import Any

import pytest

from tunehook.errors import InvalidParameter, UnknownParameter
from tunehook.settings import KIND_NAMES
from tunehook.upstreams.options import check_hyperparameters, check_member, check_options, table_of


@pytest.mark.parametrize(
    ("kind", "model", "given", "taken"),
    [
        ("openai", "gpt-4.1-mini", {}, None),
        ("azure", "gpt-4.1-mini", {}, None),
        ("azure", "gpt-4.1-mini", {"trainingType": "developerTier"}, {"trainingType": "developerTier"}),
        ("azure", "gpt-oss-20b-11", {}, {"trainingType": "globalStandard"}),
        ("azure", "gpt-oss-20b", {"trainingType": "Standard"}, {"trainingType": "Standard"}),
        ("nebius", "m", {}, {"lora": True}),
        ("nebius", "m", {"lora": False, "lora_r": 8}, {"lora": False, "lora_r": 8}),
        ("nebius", "m", {"learning_rate": 1e-5}, {"lora": True, "learning_rate": 1e-5}),
        ("fireworks", "m", {"loraRank": 16}, {"loraRank": 16}),
        ("together", "m", {"training_type": {"type": "Full"}}, {"training_type": {"type": "Full"}}),
    ],
)
def test_what_is_taken(kind: str, model: str, given: dict[str, Any], taken: dict[str, Any] | None) -> None:
    assert check_options(kind, model, given) == taken


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("nebius", {"lora_rank": 8}, r"'tunehook\.options\.lora_rank'\. Did you mean lora_r\?"),
        ("nebius", {"x": 8}, "have these: lora, lora_r"),
        ("openai", {"x": 8}, "have no options"),
        ("nebius", {"lora": 1}, r"tunehook\.options\.lora': must be true or false"),
        ("nebius", {"lora_r": True}, "must be a whole number"),
        ("nebius", {"lora_r": 8.5}, "must be a whole number"),
        ("nebius", {"lora_r": 4}, "must be a whole number from 8, at most 128"),
        ("nebius", {"lora_dropout": 1}, "must be a number from 0, below 1"),
        ("nebius", {"learning_rate": 0}, "must be a number above 0, at most 1"),
        ("nebius", {"learning_rate": float("nan")}, "must be a number"),
        ("nebius", {"learning_rate": "1e-5"}, "must be a number"),
        ("nebius", {"lora_r": None}, "must be a whole number"),
        ("azure", {"trainingType": "global"}, "must be one of Standard, globalStandard, developerTier"),
        ("together", {"training_type": "Lora"}, "must be an object"),
        ("together", {"training_type": {"lora_r": 8}}, "needs the member 'type'"),
        ("together", {"training_type": {"type": "Lora", "lora_rr": 8}}, "Did you mean lora_r"),
        ("together", {"training_type": {"type": "Lora", "lora_trainable_modules": "x" * 300}}, "at most 256"),
    ],
)
def test_what_is_refused(kind: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidParameter, UnknownParameter), match=words):
        check_options(kind, "m", given)


@pytest.mark.parametrize("kind", ["fireworks", "nebius", "together"])
def test_a_multiplier_is_refused_where_nothing_equals_it(kind: str) -> None:
    check_hyperparameters(kind, {"learning_rate_multiplier": "auto", "n_epochs": 3}, "hyperparameters")
    with pytest.raises(InvalidParameter, match="nothing equals it there") as refused:
        check_hyperparameters(kind, {"learning_rate_multiplier": 2}, "method.supervised.hyperparameters")
    assert refused.value.param == "method.supervised.hyperparameters.learning_rate_multiplier"


def test_a_kinds_narrower_range_counts() -> None:
    check_hyperparameters("openai", {"n_epochs": 50, "learning_rate_multiplier": 2}, "hyperparameters")
    with pytest.raises(InvalidParameter, match="from 1, at most 20 at upstreams of kind nebius"):
        check_hyperparameters("nebius", {"n_epochs": 21}, "hyperparameters")
    with pytest.raises(InvalidParameter, match=r"above 0, below 0\.5"):
        check_hyperparameters("fireworks", {"beta": 0.5}, "method.dpo.hyperparameters")
    with pytest.raises(InvalidParameter, match="leave them out"):
        check_member("together", "integrations")


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_each_table_has_rows_that_the_check_understands(kind: str) -> None:
    for row in table_of(kind)["options"].values():
        assert row["type"] in ("integer", "number", "boolean", "string", "object")
        assert row["about"]
