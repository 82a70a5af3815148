"""Object store: the storage's bytes in a bucket (S3, Google Cloud Storage, Azure), through obstore.

Credentials, region and endpoint come from the variables that each vendor's own tools read (AWS_…, GOOGLE_…, AZURE_…);
obstore reads them. An object is visible when it is whole: up to 8 MiB are one conditional request, more are parts that
the last request joins. Each request is bounded in time and repeated a few times.

A process that was forked after its parent had used obstore would wait for ever: a worker forks before it uses this.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from tunehook.errors import DataDirUnavailable
from tunehook.files.place import Entry
from tunehook.settings import SettingsError

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import ObjectStore as Bucket
    from obstore.store import from_url
except ImportError as error:
    raise SettingsError(
        why="TUNEHOOK_STORE_URL names a bucket, which needs the package obstore: pip install 'tunehook[s3]'"
    ) from error

PART_BYTES = 8 * 1024 * 1024
#: Parts of one object on their way at the same time; three are held in memory.
PARTS_AT_ONCE = 2
#: A body that breaks off is asked for again so often.
READS = 3
#: What an answer has in it → what to do.
ADVICE = {
    "NoSuchBucket": "the bucket does not exist. Create it, or correct TUNEHOOK_STORE_URL",
    "ContainerNotFound": "the container does not exist. Create it, or correct TUNEHOOK_STORE_URL",
    "InvalidAccessKeyId": "the access key is not known there. Correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key. Correct AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "the clock of this machine is wrong. Set it by NTP",
    "ExpiredToken": "the credentials have expired. Renew them",
    "AuthenticationFailed": "the credentials are refused. Correct them; see docs/operating.md",
    "AccessDenied": "the credentials may not do this. They need to read, write, list and delete below the URL",
    "PermanentRedirect": "the bucket is in another region. Correct AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region. Correct AWS_REGION",
    "169.254.169.254": "no credentials are set, and this machine has no role. Set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or the variables of your vendor",
    "metadata.google.internal": "no credentials are set. Set GOOGLE_APPLICATION_CREDENTIALS",
    "NotImplemented": "the server does not know this request. It must support conditional writes (If-None-Match)",
    "403 Forbidden": "the credentials are refused, or may not do this",
    "client error (Connect)": "the server cannot be reached. Check AWS_ENDPOINT_URL or your vendor's variable",
}


@dataclass(frozen=True)
class Patience:
    """Seconds for a connection and for a request, which may have 8 MiB; how often, and until when, it is repeated."""

    connect: float = 5.0
    request: float = 60.0
    retries: int = 3
    retry_until: float = 40.0
    longest_pause: float = 3.0


PATIENCE = Patience()


class ObjectStore:
    """A place (place.py) in a bucket. `label`: its URL."""

    can_vanish = False
    setting = "TUNEHOOK_STORE_URL"
    piece_bytes = PART_BYTES // 2

    def __init__(self, label: str, bucket: Bucket) -> None:
        self.label, self.bucket = label, bucket

    @classmethod
    def at(cls, url: str, patience: Patience = PATIENCE) -> ObjectStore:
        """Returns the bucket at a URL, below its path. Raises SettingsError."""
        try:
            bucket = from_url(
                url,
                client_options={
                    "allow_http": True,  # where the operator's own endpoint says http://
                    "connect_timeout": timedelta(seconds=patience.connect),
                    "timeout": timedelta(seconds=patience.request),
                },
                retry_config={
                    "max_retries": patience.retries,
                    "retry_timeout": timedelta(seconds=patience.retry_until),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=200),
                        "max_backoff": timedelta(seconds=patience.longest_pause),
                        "base": 3,
                    },
                },
            )
        except (BaseError, ValueError) as error:
            raise SettingsError(why=f"TUNEHOOK_STORE_URL: {in_words(error)}") from error
        return cls(url.rstrip("/"), bucket)

    def create(self, name: str) -> ObjectWriter:
        return ObjectWriter(self, name)

    async def put(self, name: str, content: bytes, *, safe: bool = True) -> None:
        with self.refusals():
            await obstore.put_async(self.bucket, name, content, use_multipart=False)

    async def put_new(self, name: str, content: bytes) -> bool:
        with self.refusals():
            try:
                await obstore.put_async(self.bucket, name, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                # A request that was repeated, since its answer was lost, finds what the first one wrote.
                return len(content) == await self.size(name) and await self.piece(name, 0, len(content)) == content
            return True

    async def piece(self, name: str, start: int, length: int) -> bytes:
        for attempt in range(READS):
            try:
                with self.refusals():
                    return bytes(await obstore.get_range_async(self.bucket, name, start=start, length=length))
            except DataDirUnavailable as error:
                # An empty object, or its end? A name may have these words too, so the object's size decides.
                if re.search("416|[Rr]ange", error.detail) and await self.size(name) <= start:
                    return b""
                if attempt == READS - 1 or not _is_broken_body(error.detail):
                    raise
        raise AssertionError("unreachable")

    async def size(self, name: str) -> int:
        with self.refusals():
            return int((await obstore.head_async(self.bucket, name))["size"])

    async def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self.refusals():
            await obstore.delete_async(self.bucket, name)

    async def remove_folder(self, folder: str) -> None:
        async for entry in self.entries(folder):
            await self.remove(entry.name)

    async def entries(self, folder: str) -> AsyncIterator[Entry]:
        with self.refusals():
            async for batch in obstore.list(self.bucket, folder):
                for one in batch:
                    yield Entry(one["path"], one["size"], one["last_modified"].timestamp())

    async def sweep(self, before: float) -> int:
        """Parts of objects that were never joined are not listed; the bucket's own lifecycle rule removes them."""
        newest: dict[str, float] = {}
        async for entry in self.entries("uploads"):
            folder = entry.name.rpartition("/")[0]
            newest[folder] = max(entry.modified, newest.get(folder, 0.0))
        old = [folder for folder, modified in newest.items() if modified < before]
        for folder in old:
            await self.remove_folder(folder)
        return len(old)

    async def require_room(self, size: int) -> str:
        return f"{self.label} answers"

    async def space(self) -> tuple[int, int] | None:
        return None

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Turns obstore's errors into DataDirUnavailable; a missing object is FileNotFoundError, a bucket is not."""
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
                raise self.refused(error) from error
            raise
        except BaseError as error:
            raise self.refused(error) from error

    def refused(self, error: Exception) -> DataDirUnavailable:
        why = "the object storage refuses or does not answer"
        return DataDirUnavailable(why=why, detail=f"{self.label}: {in_words(error)}")


class ObjectWriter:
    """An object on its way. Nothing is visible before `keep`; a process that is killed leaves nothing visible."""

    def __init__(self, place: ObjectStore, name: str) -> None:
        self._place, self._name = place, name
        self._held = bytearray()
        self._blocks: asyncio.Queue[bytes | Callable[[], None]] = asyncio.Queue(1)
        self._sending: asyncio.Task[object] | None = None

    async def open(self) -> None:
        """Has nothing to open: up to 8 MiB are sent at the end."""

    async def write(self, block: bytes | bytearray) -> None:
        if self._sending is None:
            self._held += block
            if len(self._held) <= PART_BYTES:
                return
            block, self._held = self._held, bytearray()
            self._sending = asyncio.create_task(self._send())
        await self._hand(bytes(block))

    async def keep(self) -> None:
        if self._sending is None:
            if not await self._place.put_new(self._name, bytes(self._held)):
                raise self._place.refused(FileExistsError(f"{self._name} is there already"))
            return
        with suppress(FileNotFoundError):
            await self._place.size(self._name)
            raise self._place.refused(FileExistsError(f"{self._name} is there already"))
        await self._hand(_end)
        sending, self._sending = self._sending, None
        await sending

    async def close(self) -> None:
        """Gives up the parts that were sent, unless they were joined."""
        sending, self._sending = self._sending, None
        if sending is None:
            return
        while not self._blocks.empty():
            self._blocks.get_nowait()
        self._blocks.put_nowait(_give_up)
        with suppress(_GivenUp, DataDirUnavailable, FileNotFoundError):
            await sending

    async def _hand(self, block: bytes | Callable[[], None]) -> None:
        """Gives a block to the task that sends. Raises what ended the task, if it has ended."""
        assert self._sending is not None
        handing = asyncio.create_task(self._blocks.put(block))
        try:
            await asyncio.wait({handing, self._sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            handing.cancel()
        if self._sending.done() and block is not _end:
            await self._sending

    async def _send(self) -> None:
        with self._place.refusals():
            await obstore.put_async(
                self._place.bucket,
                self._name,
                self._pieces(),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def _pieces(self) -> AsyncIterator[bytes]:
        while not callable(block := await self._blocks.get()):
            yield block
        block()


class _GivenUp(Exception):
    """Ends a put, which then deletes the parts that it has sent."""


def _end() -> None:
    """Ends the pieces: the parts are joined."""


def _give_up() -> None:
    raise _GivenUp


def in_words(error: Exception) -> str:
    """Returns an error of obstore in a line, with what to do where that is known. Names no credentials."""
    text = str(error).partition("\n\nDebug source:")[0]
    known = next((advice for sign, advice in ADVICE.items() if sign in text), None)
    message = re.search(r"<Message>([^<]*)</Message>", text)
    short = re.sub(r"\s+", " ", message[1] if message else text)[:300]
    return f"{known} ({short})" if known else short


def _is_broken_body(detail: str) -> bool:
    return "body" in detail or "closed" in detail or "reset" in detail
