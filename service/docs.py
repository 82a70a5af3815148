"""/openapi.json and /docs: the contract, for programs and for people. Both are read once a process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from functools import cache
from importlib import resources

import yaml
from aiohttp import web


async def contract(request: web.Request) -> web.Response:
    content = await asyncio.to_thread(_contract)
    return web.Response(body=content, content_type="application/json", headers={"cache-control": "max-age=300"})


async def page(request: web.Request) -> web.Response:
    """Answers with one page that loads nothing but /openapi.json."""
    content, policy = await asyncio.to_thread(_page)
    return web.Response(body=content, content_type="text/html", charset="utf-8", headers=policy)


@cache
def _contract() -> bytes:
    text = (resources.files("api_spec") / "openapi.yaml").read_text("utf-8")
    # libyaml reads it ten times as fast; wheels of PyYAML bring it, other builds may not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return json.dumps(yaml.load(text, Loader=loader), ensure_ascii=False).encode()  # noqa: S506  it is a safe loader


@cache
def _page() -> tuple[bytes, dict[str, str]]:
    text = (resources.files("service") / "docs.html").read_text("utf-8")
    allowed = {kind: _hash(text, kind) for kind in ("script", "style")}
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src {allowed['script']}; style-src {allowed['style']}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text.encode(), {"content-security-policy": policy, "x-content-type-options": "nosniff"}


def _hash(text: str, tag: str) -> str:
    """Returns the hash by which a Content-Security-Policy allows the page's own script or style."""
    found = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert found is not None, f"docs.html has no <{tag}>"
    return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"
