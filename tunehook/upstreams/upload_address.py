"""Sends a file to an address that a vendor named: https, checked as webhook addresses are, without our key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from tunehook.errors import UpstreamError, UpstreamUnknown
from tunehook.security.allow_list import NOTHING, AllowList
from tunehook.security.ssrf import AddressRefused, SocketRefused, check_url, guarded_connector
from tunehook.security.tls import ssl_context
from tunehook.upstreams.file_source import FileSource
from tunehook.upstreams.plain_http import CONNECT_SECONDS, FILE_SECONDS

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5


def own_host(base_url: str) -> AllowList:
    """Returns the API's own host, where the operator chose one that is private or without TLS.

    Such a gateway names itself as the place for uploads. A public https API needs no list.
    """
    try:
        check_url(base_url)
    except AddressRefused:
        host = urlsplit(base_url).hostname or ""
        return AllowList.parse(f"[{host}]" if ":" in host else host)
    return NOTHING


async def put_file(
    name: str,
    url: str,
    source: FileSource,
    size: int,
    *,
    headers: Mapping[str, str] | None = None,
    allow: AllowList = NOTHING,
    seconds: float = FILE_SECONDS,
) -> None:
    """Sends `size` bytes by PUT, and again to where the answer redirects. Raises UpstreamUnknown.

    The address is a credential (a signed URL), so no error shows it. `name`: the upstream's.
    """
    connector = guarded_connector(allow, ssl=ssl_context())
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
    jar = aiohttp.DummyCookieJar()
    try:
        async with (
            asyncio.timeout(seconds),
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar, trust_env=False) as session,
        ):
            for _ in range(1 + MOST_REDIRECTS):
                check_url(url, allow)
                status, location = await _put(session, url, source, size, headers or {})
                if 200 <= status < 300:
                    return
                if status not in REDIRECTS or not location:
                    raise UpstreamUnknown(upstream=name, why=f"the address for the upload answered HTTP {status}")
                url = urljoin(url, location)
            raise UpstreamUnknown(upstream=name, why="the address for the upload redirects in a circle")
    except UpstreamError:
        raise
    except AddressRefused as refused:
        raise _refused(name, refused) from refused
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, SocketRefused):
            raise _refused(name, error.os_error) from error
        raise UpstreamUnknown(upstream=name, why="the address for the upload cannot be reached") from error
    except TimeoutError as error:
        why = f"the address for the upload took no more bytes after {seconds} s"
        raise UpstreamUnknown(upstream=name, why=why) from error
    except (aiohttp.ClientError, ValueError) as error:
        why = f"the address for the upload gave no answer ({type(error).__name__})"
        raise UpstreamUnknown(upstream=name, why=why) from error


async def _put(
    session: aiohttp.ClientSession, url: str, source: FileSource, size: int, headers: Mapping[str, str]
) -> tuple[int, str | None]:
    """Returns the status and the Location. The URL is sent as it was named: another spelling breaks its signature."""
    async with session.put(
        URL(url, encoded=True),
        data=source.chunks(),
        headers={**headers, "Content-Length": str(size)},
        skip_auto_headers=("Content-Type",),
        allow_redirects=False,
    ) as answer:
        return answer.status, answer.headers.get("Location")


def _refused(name: str, refused: AddressRefused) -> UpstreamUnknown:
    why = f"it names an address for the upload that is refused: {refused.fields['rule']}"
    return UpstreamUnknown(upstream=name, why=why)
