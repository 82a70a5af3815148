"""The base models there are, and when they shut down.  (pure)"""

from wire import shapes

# Announced for 2027: tuned and base models of these families go together.
_SHUTDOWN = {
    "gpt-4o-2024-08-06": "2027-01-14",
    "gpt-4o": "2027-01-14",
    "gpt-4o-mini-2024-07-18": "2027-01-14",
    "gpt-4o-mini": "2027-01-14",
    "gpt-4.1-2025-04-14": "2027-01-14",
    "gpt-4.1": "2027-01-14",
    "gpt-4.1-mini-2025-04-14": "2027-01-14",
    "gpt-4.1-mini": "2027-01-14",
}
_TUNABLE = {
    **_SHUTDOWN,
    "gpt-4.1-nano-2025-04-14": None,
    "gpt-4.1-nano": None,
    "gpt-3.5-turbo-0125": None,
    "gpt-3.5-turbo-1106": None,
    "gpt-3.5-turbo-0613": None,
    "gpt-3.5-turbo": None,
    "o4-mini-2025-04-16": None,
    "davinci-002": None,
    "babbage-002": None,
}
# Answers chat, cannot be tuned: for those who want to see `model_not_available`.
_OTHERS = {"gpt-5": None, "gpt-4": None}
_CREATED = 1_744_316_542


_SNAPSHOTS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "gpt-3.5-turbo": "gpt-3.5-turbo-0125",
}


def snapshot(model: str) -> str:
    """The dated model that a job shows when it was asked for by its short name."""
    return _SNAPSHOTS.get(model, model)


def is_tunable(model: str) -> bool:
    return model in _TUNABLE


def known() -> dict[str, str | None]:
    """Every base model and its shutdown date (YYYY-MM-DD or null)."""
    return {**_TUNABLE, **_OTHERS}


def base(model: str) -> dict[str, object]:
    return {**shapes.model(model, created=_CREATED, owner="system"), "shutdown_date": known()[model]}
