"""Sends one webhook: a signed POST to a checked address, and its outcome in words.

Nothing that a receiver does raises. No redirects, no cookies, no proxies; 64 KiB of the answer are read.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from tunehook import telemetry
from tunehook.errors import TunehookError
from tunehook.model.webhook import Attempt
from tunehook.security import signature
from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.security.ssrf import AddressRefused, SocketRefused, check_url, guarded_connector
from tunehook.security.tls import ssl_context
from tunehook.webhooks import retry_policy
from tunehook.webhooks.retry_policy import Fault, Outcome, Verdict

ATTEMPT_SECONDS = 15.0
ANSWER_BYTES = 2048  #: of an answer are kept
READ_BYTES = 64 * 1024  #: of an answer are read at most
NAME_CACHE_SECONDS = 60
#: A name server that hangs blocks a thread for up to half a minute; one could block all of asyncio's few threads.
RESOLVERS = 64
_NO_CONTENT = re.compile(rb"HTTP/1\.[01] 204[ \r]")


def signed_headers(secrets: list[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Returns the headers of a webhook, signed with each secret."""
    return {
        "content-type": "application/json",
        "user-agent": "tunehook",
        **signature.sign(secrets, event_id, timestamp, body),
    }


class Sender:
    """The HTTP client of one step or test webhook, with the secrets that it has decrypted."""

    def __init__(self, allow: AllowList, encryption: Encryption, seconds: float = ATTEMPT_SECONDS) -> None:
        self._seconds = seconds
        self._allow = allow
        self._encryption = encryption
        self._decrypted: dict[str, str] = {}
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Sender:
        resolver = _Resolver()
        self._stack.push_async_callback(resolver.close)
        connector = guarded_connector(
            self._allow, resolver=resolver, ssl=ssl_context(), limit=0, ttl_dns_cache=NAME_CACHE_SECONDS
        )
        # aiohttp has no public way to choose what reads an answer.
        connector._factory = partial(_Answer, loop=asyncio.get_running_loop())  # type: ignore[assignment]
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        )
        return self

    async def __aexit__(self, *details: object) -> None:
        await self._stack.aclose()

    async def send(self, url: str, event_id: str, body: str, encrypted: list[str]) -> tuple[Attempt, Outcome]:
        """Signs the text with each encrypted secret and sends it; returns the attempt and its outcome."""
        at, begun = time.time(), time.monotonic()
        status: int | None = None
        answer: str | None = None
        content = body.encode()
        try:
            headers = self._headers(event_id, int(at), content, encrypted)
            check_url(url, self._allow)
            assert self._session is not None
            async with self._session.post(url, data=content, headers=headers, allow_redirects=False) as response:
                status = response.status
                outcome = retry_policy.answered(status, response.headers.get("Retry-After"), now=at)
                answer = await _beginning(response)
        except AddressRefused as refused:
            outcome = retry_policy.unanswered(Fault.ADDRESS, str(refused.fields["rule"]))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RuntimeError) as error:
            # A status is an answer, even if the body breaks off.
            outcome = outcome if status is not None else _fault(error)
        except TunehookError as error:
            outcome = Outcome(Verdict.FAILED, error.message)
        seconds = round(time.monotonic() - begun, 4)
        return Attempt(at=at, seconds=seconds, status_code=status, outcome=outcome.reason, answer=answer), outcome

    def _headers(self, event_id: str, timestamp: int, body: bytes, encrypted: list[str]) -> dict[str, str]:
        if not encrypted:
            raise TunehookError("the secret that signs this webhook is gone")
        signed = signed_headers([self._decrypt(secret) for secret in encrypted], event_id, timestamp, body)
        return signed | telemetry.headers()

    def _decrypt(self, encrypted: str) -> str:
        secret = self._decrypted.get(encrypted)
        if secret is None:
            secret = self._decrypted[encrypted] = self._encryption.decrypt(encrypted)
        return secret


class _Answer(ResponseHandler):
    """Reads a 204 that has a body all the same: aiohttp would take the body for a broken next answer."""

    def data_received(self, data: bytes) -> None:
        head, end, _ = data.partition(b"\r\n\r\n")
        super().data_received(head + end if end and _NO_CONTENT.match(head) else data)


class _Resolver(AbstractResolver):
    """The system's resolver in threads of its own; closing does not wait for them."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        ask = partial(
            socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(place[0]), port=int(place[1]), family=kind, proto=protocol, flags=numeric
            )
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _beginning(response: aiohttp.ClientResponse) -> str | None:
    """Returns the first bytes of an answer as text; an answer of 100 MB is not read to its end."""
    content = b""
    try:
        async for chunk in response.content.iter_chunked(8192):
            content += chunk
            if len(content) >= READ_BYTES:
                response.close()
                break
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        response.close()  # the status has come, and it decides
    return content[:ANSWER_BYTES].decode("utf-8", "replace") or None


def _fault(error: Exception) -> Outcome:
    match error:
        case TimeoutError():
            return retry_policy.unanswered(Fault.TIMEOUT)
        case aiohttp.ClientConnectorDNSError():
            return retry_policy.unanswered(Fault.NAME, str(error.os_error))
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return retry_policy.unanswered(Fault.TLS, str(error))
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, SocketRefused):
            return retry_policy.unanswered(Fault.ADDRESS, str(error.os_error.fields["rule"]))
        case aiohttp.ClientConnectorError():
            return retry_policy.unanswered(Fault.CONNECTION, str(error.os_error))
        case aiohttp.ClientResponseError():
            # Of its words, without the bytes that follow them in lines of their own.
            return retry_policy.unanswered(Fault.GARBAGE, re.split(r"[:\n]", error.message)[0])
    return retry_policy.unanswered(Fault.BROKEN, type(error).__name__)
