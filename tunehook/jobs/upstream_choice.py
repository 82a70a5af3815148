"""Chooses the upstream of a new job, and checks the request against what its kind has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tunehook.context import Context
from tunehook.errors import InvalidParameter, UnknownUpstream
from tunehook.model.api_key import ApiKey
from tunehook.model.job import AT_UPSTREAM
from tunehook.openai_format.job_request import JobRequest
from tunehook.upstreams.options import check_hyperparameters, check_member, check_options
from tunehook.wording import did_you_mean

Rows = list[dict[str, Any]]
#: Asks each upstream which models it lists.
Offered = Callable[[], Awaitable[Mapping[str, Rows]]]
#: What OpenAI answers a create since it closes fine-tuning in steps.
NOT_AVAILABLE = "training_not_available"


async def choose(ctx: Context, caller: ApiKey, request: JobRequest, offered: Offered | None) -> str:
    """Returns the upstream of a new job; an accepted job never changes it.

    It is the one that the request names; else the one that made the tuned model; else the default, unless only another
    has the model, or the default takes no new jobs of this project and another has the model.

    Raises UnknownUpstream.
    """
    if (named := request.ours.upstream) is not None:
        check_name(ctx, named, "tunehook.upstream")
        return named
    if not ctx.upstreams:
        check_name(ctx, "(default)", "tunehook.upstream")
    first = next(iter(ctx.upstreams))
    if len(ctx.upstreams) == 1:
        return first
    made = await ctx.store.models.find(request.model, caller.project)
    if made is not None and made.upstream in ctx.upstreams:
        return made.upstream
    return await _that_has_the_model(ctx, caller, request, first, offered)


def check_name(ctx: Context, name: str, param: str) -> None:
    """Raises UnknownUpstream, with the nearest name."""
    if name not in ctx.upstreams:
        known = ", ".join(ctx.upstreams) or "none: set the key of an upstream, such as OPENAI_API_KEY"
        raise UnknownUpstream(param=param, name=name[:80], known=known, hint=did_you_mean(name, ctx.upstreams))


async def _that_has_the_model(
    ctx: Context, caller: ApiKey, request: JobRequest, first: str, offered: Offered | None
) -> str:
    """Returns the first upstream that has the model and takes new jobs; the default if none is known to have it.

    A file that lies at an upstream already is of no use at the next one.
    """
    model = request.model
    listed: Mapping[str, Rows] = {}
    if offered is not None and not _has(ctx, first, model, listed):
        listed = await offered()
    having = [name for name in ctx.upstreams if _has(ctx, name, model, listed)]
    if not having:
        return first
    bound = ctx.chosen_default == having[0] or request.training_file.startswith(AT_UPSTREAM)
    if len(having) == 1 or bound:
        return having[0]
    for name in having:
        if await ctx.store.jobs.last_refusal(caller.project, name) != NOT_AVAILABLE:
            return name
    return having[0]


def _has(ctx: Context, upstream: str, model: str, listed: Mapping[str, Rows]) -> bool:
    """Returns whether an upstream is known to train a model: by its price, or by its own list."""
    if ctx.prices.methods(model, ctx.rules(upstream).kind):
        return True
    return any(str(row["id"]) == model and _trains(row) for row in listed.get(upstream, []))


def _trains(row: Mapping[str, Any]) -> bool:
    """Returns whether a listed model can be trained; one that does not say is not excluded."""
    capabilities = row.get("capabilities")
    return not isinstance(capabilities, dict) or capabilities.get("fine_tune") is not False


def check_request(ctx: Context, request: JobRequest, upstream: str) -> dict[str, Any] | None:
    """Returns the options of a job with their defaults. Raises InvalidParameter for what this kind does not have."""
    rules = ctx.rules(upstream)
    why = rules.against_method(request.kind)
    if why is not None:
        raise InvalidParameter(param="method.type", why=why)
    where = f"method.{request.kind}.hyperparameters" if request.method else "hyperparameters"
    asked = request.asked.model_dump(exclude_none=True) if request.asked else {}
    check_hyperparameters(rules.kind, asked, where)
    if request.integrations:
        check_member(rules.kind, "integrations")
    return check_options(rules.kind, request.model, request.ours.options or {})
