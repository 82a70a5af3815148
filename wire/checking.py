"""Small checks that compose, and refuse a member as OpenAI words it.  (pure)

A check takes a value and the name it goes by (``hyperparameters.n_epochs``) and raises Problem 400."""

from collections.abc import Callable, Mapping
from functools import partial

from wire.problems import Problem, bad

Check = Callable[[object, str], None]


def _kind(value: object) -> str:
    if value is None:
        return "null"
    for types, word in ((bool, "boolean"), (int, "integer"), (float, "decimal"), (str, "string"), (list, "array")):
        if isinstance(value, types):  # bool before int: True is an int in Python
            return word
    return "object"


def wrong_type(name: str, wanted: str, value: object) -> Problem:
    return bad(
        f"Invalid type for '{name}': expected {wanted}, but got {_kind(value)} instead.",
        param=name,
        code="invalid_type",
    )


def text(*, least: int = 0, most: int | None = None) -> Check:
    def check(value: object, name: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if len(value) < least:
            words = f"Invalid '{name}': string too short. Expected a minimum length of {least}."
            raise bad(words, param=name, code="string_below_min_length")
        if most is not None and len(value) > most:
            words = (
                f"Invalid '{name}': string too long. Expected a string with maximum length {most}, "
                f"but got a string with length {len(value)} instead."
            )
            raise bad(words, param=name, code="string_above_max_length")

    return check


def _amount(word: str, *, least: float | None = None, above: float | None = None, most: float | None = None) -> Check:
    types = int if word == "integer" else int | float

    def check(value: object, name: str) -> None:
        if isinstance(value, bool) or not isinstance(value, types):
            raise wrong_type(name, f"{'an' if word == 'integer' else 'a'} {word}", value)
        if (least is not None and value < least) or (above is not None and value <= above):
            bound = f">= {least}" if above is None else f"> {above}"
            words = f"Invalid '{name}': {word} below minimum value. Expected a value {bound}, but got {value}."
            raise bad(words, param=name, code=f"{word}_below_min_value")
        if most is not None and value > most:
            words = f"Invalid '{name}': {word} above maximum value. Expected a value <= {most}, but got {value}."
            raise bad(words, param=name, code=f"{word}_above_max_value")

    return check


number, integer = partial(_amount, "decimal"), partial(_amount, "integer")


def boolean(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)


def one_of(*allowed: str) -> Check:
    def check(value: object, name: str) -> None:
        if not isinstance(value, str):
            raise wrong_type(name, "a string", value)
        if value not in allowed:
            choices = ", ".join(f"'{choice}'" for choice in allowed)
            raise bad(f"Invalid value: '{value}'. Supported values are: {choices}.", param=name, code="invalid_value")

    return check


def _or(other: object, inner: Check) -> Check:
    def check(value: object, name: str) -> None:
        if value != other:
            inner(value, name)

    return check


auto_or, nullable = partial(_or, "auto"), partial(_or, None)


def array(inner: Check, *, least: int = 0, most: int | None = None) -> Check:
    def check(value: object, name: str) -> None:
        if not isinstance(value, list):
            raise wrong_type(name, "an array", value)
        if len(value) < least:
            raise bad(f"Invalid '{name}': empty array.", param=name, code="empty_array")
        if most is not None and len(value) > most:
            words = f"Invalid '{name}': array too long. Expected an array with maximum length {most}."
            raise bad(words, param=name, code="array_above_max_length")
        for index, item in enumerate(value):
            inner(item, f"{name}[{index}]")

    return check


def table(members: Mapping[str, Check], *, required: tuple[str, ...] = (), open_: bool = False) -> Check:
    """An object with these members; others are refused unless `open_`."""

    def check(value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(name or "body", "an object", value)
        prefix = f"{name}." if name else ""
        for member in required:
            if member not in value:
                raise bad(
                    f"Missing required parameter: '{prefix}{member}'.",
                    param=prefix + member,
                    code="missing_required_parameter",
                )
        for member, given in value.items():
            if member in members:
                members[member](given, prefix + member)
            elif not open_:
                raise bad(f"Unknown parameter: '{prefix}{member}'.", param=prefix + member, code="unknown_parameter")

    return check


def metadata(value: object, name: str) -> None:
    """At most 16 pairs of strings, keys ≤ 64 and values ≤ 512 characters."""
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    if len(value) > 16:
        words = f"Invalid '{name}': too many properties. Expected an object with at most 16 properties."
        raise bad(words, param=name, code="object_above_max_properties")
    for key, item in value.items():
        if len(key) > 64:
            words = f"Invalid property name in '{name}': keys have at most 64 characters."
            raise bad(words, param=name, code="string_above_max_length")
        text(most=512)(item, f"{name}.{key}")
