"""Serves the page at `/`: its files lie in service/page, and are read and compressed once a process.

The page itself is asked for each time, by ETag. All it loads lies below `page/<digest of all files>/`, so a browser
keeps it for ever and a new version is another address. Every address is relative: the page works below any path.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import logging
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web

from tunehook.errors import RouteNotFound

log = logging.getLogger("tunehook.api")

_TYPES = {
    "js": "text/javascript",
    "mjs": "text/javascript",
    "css": "text/css",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
#: The first view: the page names these and all that they import, so that a browser asks for them at once.
_FIRST = ("main.js", "views/jobs.js")
_IMPORTED = re.compile(r"""\b(?:im|ex)port\b[^'"`;()]*?\bfrom\s*["']([^"']+)["']""")
#: A comment with no code on its lines.
_COMMENTS = re.compile(rb"^[ \t]*(?://.*|/\*(?:(?!\*/)[\s\S])*\*/[ \t]*)$", re.MULTILINE)
_POLICY = (
    "default-src 'none'; script-src 'self' {import_map}; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_NO_LIBRARIES = (
    "<!doctype html><html lang=en><title>Tunehook</title><p>The page's libraries are not here: this package was built "
    "without them, or with those of another version. Build it again where npm can be reached "
    "(<code>pip install -e .</code>), or read <a href=docs>the API</a>."
)


@dataclass(frozen=True)
class Content:
    body: bytes
    compressed: bytes
    kind: str


@dataclass(frozen=True)
class Site:
    """The page, its policy, and by path what it loads."""

    digest: str
    page: Content
    policy: str
    files: dict[str, Content]


def add_routes(app: web.Application) -> None:
    app.router.add_get("/", show)
    app.router.add_get("/page/{digest}/{path:.+}", file)


async def show(request: web.Request) -> web.Response:
    """Answers with the page, or with 304 where the browser has it."""
    site = await asyncio.to_thread(load)
    tag = site.digest if site.files else None
    headers = {
        "content-security-policy": site.policy,
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=()",
    }
    asked = request.if_none_match or ()
    if tag and any(one.value in (tag, "*") for one in asked):
        response = web.Response(status=304, headers=headers)
    else:
        response = _answer(request, site.page, headers)
    if tag:
        response.etag = tag
    return response


async def file(request: web.Request) -> web.Response:
    """Answers with a file of the page. Raises RouteNotFound.

    During a rolling upgrade a page of another version may ask: it gets ours, and does not keep it.
    """
    site = await asyncio.to_thread(load)
    content = site.files.get(request.match_info["path"])
    if content is None:
        raise RouteNotFound(method="GET", path=request.path[:200], hint="The page loads no such file: reload it.")
    ours = request.match_info["digest"] == site.digest
    return _answer(request, content, {"cache-control": "public, max-age=31536000, immutable" if ours else "no-store"})


def _answer(request: web.Request, content: Content, headers: dict[str, str]) -> web.Response:
    headers |= {"x-content-type-options": "nosniff", "vary": "Accept-Encoding"}
    body = content.body
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        body = content.compressed
        headers["content-encoding"] = "gzip"
    return web.Response(body=body, content_type=content.kind, charset="utf-8", headers=headers)


@cache
def load() -> Site:
    """Reads and compresses all files: about 50 ms."""
    folder = resources.files("service") / "page"
    return site_of(folder)


def site_of(folder: Traversable) -> Site:
    """Returns the site that a folder makes; one page that says so where the libraries are missing."""
    files = {path: _content(path, _bare(body)) for path, body in sorted(_files(folder)) if _ending(path) in _TYPES}
    named = (folder / "package.json").read_bytes()
    imports = _imports(json.loads(named))
    if not files.keys() >= set(imports.values()):
        log.warning("service/page/vendor is missing, or of other versions than package.json: / has no page")
        return Site("", _content("index.html", _NO_LIBRARIES.encode()), "default-src 'none'", {})
    text = (folder / "index.html").read_bytes()
    digest = hashlib.sha256(b"".join([text, named, *(path.encode() + one.body for path, one in files.items())]))
    base = f"page/{digest.hexdigest()[:16]}/"
    import_map = json.dumps({"imports": {name: f"./{base}{path}" for name, path in imports.items()}})
    early = _first(files, imports)
    page = text.decode()
    for name, value in {
        "{{base}}": base,
        "{{import map}}": import_map,
        "{{preload}}": "\n".join(f'<link rel="modulepreload" href="{base}{path}">' for path in early),
    }.items():
        page = page.replace(name, value)
    allowed = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    policy = _POLICY.format(import_map=f"'sha256-{allowed}'")
    return Site(digest.hexdigest()[:16], _content("index.html", page.encode()), policy, files)


def _imports(named: dict[str, dict[str, str]]) -> dict[str, str]:
    """Returns a bare name → its file, in the folder with its version."""

    def versioned(path: str) -> str:
        package = next(one for one in named["dependencies"] if path.startswith(f"{one}/"))
        return f"vendor/{package}@{named['dependencies'][package]}/{path.removeprefix(f'{package}/')}"

    return {name: versioned(path) for name, path in named["importMap"].items()}


def _first(files: dict[str, Content], imports: dict[str, str]) -> list[str]:
    """Returns the scripts of the first view, each before what it imports."""
    found = list(_FIRST)
    for path in found:  # it grows
        for name in _IMPORTED.findall(files[path].body.decode()):
            one = imports.get(name) or posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
            if one in files and one not in found:
                found.append(one)
    return found


def _bare(body: bytes) -> bytes:
    """Returns a text without its comments, a fifth of what a browser loads. A licence stays, as do numbers of lines."""
    return _COMMENTS.sub(lambda found: found[0] if b"opyright" in found[0] else b"\n" * found[0].count(b"\n"), body)


def _files(folder: Traversable, within: str = "") -> Iterator[tuple[str, bytes]]:
    for one in folder.iterdir():
        if one.is_dir() and one.name not in ("node_modules", "tests"):
            yield from _files(one, f"{within}{one.name}/")
        elif one.is_file():
            yield f"{within}{one.name}", one.read_bytes()


def _content(path: str, body: bytes) -> Content:
    return Content(body, gzip.compress(body, 9, mtime=0), _TYPES.get(_ending(path), "text/html"))


def _ending(path: str) -> str:
    return path.rpartition(".")[2]
