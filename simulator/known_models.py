"""The base models there are, and when they shut down.  (pure)"""

from wire import shapes

# Family → its dated model, and when both shut down; tuned models go with them.
_FAMILIES = {
    "gpt-4o": ("gpt-4o-2024-08-06", "2027-01-14"),
    "gpt-4o-mini": ("gpt-4o-mini-2024-07-18", "2027-01-14"),
    "gpt-4.1": ("gpt-4.1-2025-04-14", "2027-01-14"),
    "gpt-4.1-mini": ("gpt-4.1-mini-2025-04-14", "2027-01-14"),
    "gpt-4.1-nano": ("gpt-4.1-nano-2025-04-14", None),
}
_SINGLE = (
    "gpt-3.5-turbo-0125", "gpt-3.5-turbo-1106", "gpt-3.5-turbo-0613", "gpt-3.5-turbo", "o4-mini-2025-04-16",
    "davinci-002", "babbage-002",
)  # fmt: skip
_TUNABLE = {name: down for family, (dated, down) in _FAMILIES.items() for name in (dated, family)} | dict.fromkeys(
    _SINGLE
)
_SNAPSHOTS = {family: dated for family, (dated, _) in _FAMILIES.items()} | {"gpt-3.5-turbo": "gpt-3.5-turbo-0125"}
# Answers chat, cannot be tuned: for those who want to see `model_not_available`.
_OTHERS = {"gpt-5": None, "gpt-4": None}
_CREATED = 1_744_316_542


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
