"""What is told of models, from what upstreams say of them."""

from typing import Any

import pytest

from tunehook.dataset.prices import load_prices
from tunehook.model.job import TunedModel
from tunehook.openai_format import models

PRICES = load_prices()
MADE = TunedModel(name="ft:gpt-4.1:x::1", upstream="openai", base="gpt-4.1", job_id="ftjob-1", created_at=5)


@pytest.mark.parametrize(
    ("row", "can"),
    [
        ({"id": "gpt-4.1"}, True),
        ({"id": "gpt-4.1-2025-04-14"}, True),
        ({"id": "gpt-3.5-turbo-0125"}, True),
        ({"id": "o4-mini-2025-04-16"}, True),
        ({"id": "gpt-4o-audio-preview"}, False),
        ({"id": "gpt-4.1-mini-tts"}, False),
        ({"id": "gpt-5"}, False),
        ({"id": "phi-4", "capabilities": {"fine_tune": True}}, True),
        ({"id": "gpt-4.1", "capabilities": {"fine_tune": False}}, False),
    ],
)
def test_what_can_be_tuned(row: dict[str, Any], can: bool) -> None:
    assert models.is_tunable(row, PRICES) is can


def test_the_first_upstreams_word_counts_and_tuned_models_of_others_are_not_shown() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "gpt-4.1", "created": 7, "owned_by": "system", "shutdown_date": "2027-01-14"},
        {"id": "gpt-4.1", "created": 8, "owned_by": "azure", "shutdown_date": None},
        {"id": "ft:gpt-4.1:others::2", "capabilities": {"fine_tune": True}},
        {"id": "gpt-4.1-nano", "created": "yesterday", "shutdown_date": "soon"},
    ]
    shown = list(models.base_models(rows, PRICES).values())
    assert [one.pop("parent") for one in shown] == [None, None]
    assert shown == [
        {"id": "gpt-4.1", "object": "model", "created": 7, "owned_by": "system", "shutdown_date": "2027-01-14"},
        {"id": "gpt-4.1-nano", "object": "model", "created": 0, "owned_by": "system", "shutdown_date": None},
    ]


@pytest.mark.parametrize(
    ("rows", "day"),
    [
        ([], None),
        ([{"id": "gpt-4.1", "shutdown_date": "2027-01-14"}], "2027-01-14"),
        (
            [{"id": "gpt-4.1", "shutdown_date": "2027-01-14"}, {"id": MADE.name, "shutdown_date": "2027-02-01"}],
            "2027-02-01",
        ),
    ],
)
def test_a_tuned_model_goes_with_its_base_unless_a_day_of_its_own_is_said(rows: list[dict[str, Any]], day: Any) -> None:
    shown = models.tuned_model(MADE, models.shutdown_dates(rows), "acme")
    assert (shown["shutdown_date"], shown["owned_by"], shown["created"]) == (day, "acme", 5)
    assert shown["parent"] == "gpt-4.1"
