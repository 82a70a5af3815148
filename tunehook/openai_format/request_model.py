"""Bodies of requests as pydantic models: nothing unknown in them, and the first error in our words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from tunehook.errors import InvalidParameter, MissingParameter, UnknownParameter
from tunehook.wording import did_you_mean, in_words

#: Of the path to a parameter that is refused.
PARAM_CHARS = 200
Request = TypeVar("Request", bound=BaseModel)


class Strict(BaseModel):
    """An object of a request: no unknown members, no text in place of a number."""

    model_config = ConfigDict(extra="forbid", strict=True)
    nullable: ClassVar[frozenset[str]] = frozenset()  #: members that may be null, as the contract says

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name not in cls.nullable:
            raise ValueError("must not be null: leave it out")
        return value


def parse_as(model: type[Request], body: dict[str, Any]) -> Request:
    """Returns the checked request. Raises InvalidParameter for the first error, with its path in `param`."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
    names = (str(part)[:PARAM_CHARS] for part in found["loc"])
    path = ".".join(name for name in names if not name.startswith("function-"))[:PARAM_CHARS] or None
    match found["type"]:
        case "missing":
            raise MissingParameter(param=path)
        case "extra_forbidden":
            raise UnknownParameter(param=path, hint=_hint(model, path or ""))
    why = in_words(found)
    raise InvalidParameter(param=path or "body", why=why[0].lower() + why[1:])


def _hint(model: type[BaseModel], path: str) -> str:
    """Asks whether another member was meant: one of the same object first."""
    where, _, name = path.rpartition(".")
    return did_you_mean(name, sorted(_paths(model), key=lambda known: known.rpartition(".")[0] != where))


def _paths(model: type[BaseModel], where: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield where + name
        for inner in _models(field.annotation):
            yield from _paths(inner, f"{where}{name}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
