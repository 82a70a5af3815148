"""Which format is for which method and model."""

import pytest

from tunehook.dataset.prices import Method
from tunehook.jobs.dataset_fit import misfit
from tunehook.model.file import Dataset

FITTING: list[tuple[str, Method, str]] = [
    ("chat", "supervised", "gpt-4.1-mini-2025-04-14"),
    ("chat", "supervised", "ft:gpt-4o-2024-08-06:acme::x"),
    ("chat", "supervised", "llama-4"),
    ("completion", "supervised", "babbage-002"),
    ("completion", "supervised", "ft:davinci-002:acme::x"),
    ("completion", "supervised", "llama-4"),
    ("preference", "dpo", "gpt-4.1-mini-2025-04-14"),
    ("reinforcement", "reinforcement", "o4-mini-2025-04-16"),
]
MISFITS: list[tuple[str, Method, str]] = [
    ("chat", "dpo", "gpt-4o"),
    ("chat", "reinforcement", "o4-mini"),
    ("chat", "supervised", "babbage-002"),
    ("completion", "supervised", "gpt-4o"),
    ("completion", "supervised", "o4-mini"),
    ("completion", "dpo", "babbage-002"),
    ("preference", "supervised", "gpt-4o"),
    ("reinforcement", "supervised", "gpt-4o"),
]


def dataset(form: str) -> Dataset:
    return Dataset(format=form, examples=10, errors=0, warnings=0)


@pytest.mark.parametrize(("form", "method", "model"), FITTING)
def test_what_fits(form: str, method: Method, model: str) -> None:
    assert misfit(dataset(form), model=model, method=method) is None


@pytest.mark.parametrize(("form", "method", "model"), MISFITS)
def test_what_does_not_fit_is_told_with_both(form: str, method: Method, model: str) -> None:
    told = misfit(dataset(form), model=model, method=method)
    assert told is not None
    assert f"it holds {form} examples" in told
    assert method in told
