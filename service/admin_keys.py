"""/v1/admin/keys: the keys of the deployment, for admin keys."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field

from service.request_log import log_admin
from service.requests import context_of, json_object, known_only, optional_json_object
from tunehook import api_keys
from tunehook.errors import InvalidParameter
from tunehook.model.api_key import OF_A_PROJECT, ApiKey, Scope
from tunehook.openai_format.lists import page_object
from tunehook.openai_format.request_model import Strict, parse_as
from tunehook.projects import NAME as PROJECT_NAME
from tunehook.webhooks.endpoints import RotateRequest

Name = Annotated[str, Field(max_length=256)]
Project = Annotated[str, Field(pattern=f"^{PROJECT_NAME.pattern}$")]
Scopes = list[Literal["read", "write", "chat", "webhooks", "admin"]]
Time = Annotated[int, Field(ge=0, le=10**11)]


class CreateRequest(Strict):
    nullable = frozenset({"expires_at"})

    project: Project | None = None
    name: Name = ""
    scopes: Scopes | None = None
    expires_at: Time | None = None


class ChangeRequest(Strict):
    nullable = frozenset({"expires_at"})

    name: Name | None = None
    scopes: Scopes | None = None
    expires_at: Time | None = None


async def create(request: web.Request) -> web.Response:
    asked = parse_as(CreateRequest, await json_object(request))
    scopes = [Scope(scope) for scope in asked.scopes] if asked.scopes is not None else list(OF_A_PROJECT)
    if (asked.project is None) != (Scope.ADMIN in scopes):
        why = "a key has a project, unless its scope is 'admin': such a key belongs to the deployment"
        raise InvalidParameter(param="project", why=why)
    ctx = context_of(request)
    text, callback_secret = await api_keys.create(
        ctx.store,
        ctx.webhooks.encryption,
        project=asked.project or "",
        name=asked.name,
        scopes=scopes,
        expires_at=asked.expires_at,
    )
    shown: dict[str, str | None] = {"key": text}
    shown["callback_secret"] = None if Scope.ADMIN in scopes else callback_secret
    key = await api_keys.find(ctx.store, text)
    _log(request, "key made", key)
    return web.json_response(key_object(key, {}) | shown)


async def list_(request: web.Request) -> web.Response:
    known_only(request, "project")
    ctx = context_of(request)
    found, used = await ctx.store.api_keys.all(), await ctx.store.api_keys.used()
    project = request.query.get("project")
    data = [key_object(key, used) for key in found if project in (None, key.project)]
    return web.json_response(page_object(data, has_more=False))


async def retrieve(request: web.Request) -> web.Response:
    return await _answer(request, await api_keys.find(context_of(request).store, _id(request)))


async def change(request: web.Request) -> web.Response:
    body = await json_object(request)
    asked = parse_as(ChangeRequest, body)
    changed = await api_keys.change(
        context_of(request).store,
        _id(request),
        name=asked.name,
        scopes=None if asked.scopes is None else [Scope(scope) for scope in asked.scopes],
        expires_at=asked.expires_at,
        forever="expires_at" in body and asked.expires_at is None,
    )
    _log(request, "key changed", changed)
    return await _answer(request, changed)


async def rotate(request: web.Request) -> web.Response:
    asked = parse_as(RotateRequest, await optional_json_object(request))
    text, key = await api_keys.rotate(
        context_of(request).store,
        _id(request),
        keep_old=asked.keep_old_secret_active_for_24_hours,
        now=int(time.time()),
    )
    _log(request, "key rotated", key)
    until = key.old_secret_until if asked.keep_old_secret_active_for_24_hours else None
    return await _answer(request, key, {"key": text, "old_key_active_until": until})


async def revoke(request: web.Request) -> web.Response:
    revoked = await api_keys.revoke(context_of(request).store, _id(request))
    _log(request, "key revoked", revoked)
    return await _answer(request, revoked)


def _log(request: web.Request, what: str, key: ApiKey) -> None:
    scopes = " ".join(key.scopes)
    log_admin(request, what, key=key.id, project=key.project, name=key.name, scopes=scopes, expires_at=key.expires_at)


def _id(request: web.Request) -> str:
    return request.match_info["key_id"]


async def _answer(request: web.Request, key: ApiKey, more: dict[str, Any] | None = None) -> web.Response:
    used = await context_of(request).store.api_keys.used()
    return web.json_response(key_object(key, used) | (more or {}))


def key_object(key: ApiKey, used: dict[str, str]) -> dict[str, Any]:
    """Returns a key as the API shows it, without its secrets. `used`: key → the day of its last use."""
    return {
        "object": "api_key",
        "id": key.id,
        "project": key.project or None,
        "name": key.name,
        "scopes": list(key.scopes),
        "state": key.state(time.time()),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_on": used.get(key.id),
    }
