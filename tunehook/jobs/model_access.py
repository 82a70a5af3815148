"""Model access: a project may name base models and the models that it tuned here, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunehook.context import Context
from tunehook.dataset.tokens import base_model
from tunehook.errors import ModelNotFound

#: Of the path to a parameter, which is made for each part of a grader: a name in it may have a megabyte.
PATH_CHARS = 200


async def check_models(ctx: Context, project: str, models: dict[str, str]) -> None:
    """Raises ModelNotFound for a tuned model of another project, and in the same words for an unknown one.

    `models`: the name of a model → the request's parameter that names it.
    """
    owners = await ctx.store.models.owners(list(models))
    for (model, param), owner in zip(models.items(), owners, strict=True):
        if owner not in (None, project) or (owner is None and is_tuned(model)):
            raise ModelNotFound(id=model[:200], param=param)


def is_tuned(model: str) -> bool:
    """Whether the name is one of a fine-tuned model, in whatever spelling an upstream might take."""
    plain = model.strip().lower()
    return base_model(plain) != plain


def grader_models(grader: dict[str, Any], param: str) -> dict[str, str]:
    """Returns the name of each model in a grader → the parameter that names it, at any depth."""
    return {model: where for where, model in _named(grader, param)}


def _named(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "model" and isinstance(inner, str):
                yield f"{path}.model", inner
            else:
                yield from _named(inner, f"{path}.{name}"[:PATH_CHARS])
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _named(inner, f"{path}.{number}"[:PATH_CHARS])
