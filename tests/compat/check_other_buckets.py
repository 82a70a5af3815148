"""Files in Google Cloud Storage and in Azure, at stand-ins: the tests that every place passes.

Google: the client speaks the XML API, which is S3's with other names for headers; moto's server behind a translator.
Azure: Azurite, if it is installed. It has 360 MB, so `make neighbours` does not install it:

    npm install --prefix DIRECTORY azurite
    PATH=DIRECTORY/node_modules/.bin:$PATH pytest tests/compat/check_other_buckets.py
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.compat.check_object_storage import SHORT, Trouble, in_trouble, installed, server
from tests.fakes.ports import free_port
from tests.unit.files import test_place as places
from tests.unit.files.test_place import Marks
from tunehook.errors import DataDirUnavailable
from tunehook.files.object_store import ObjectStore
from tunehook.files.storage import Storage

__all__ = ["installed", "server"]
#: Azurite's own, which everyone knows.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
test_a_file_is_there_whole = places.test_a_file_is_there_whole_once_it_is_kept
test_a_file_that_breaks_off = places.test_a_file_that_breaks_off_leaves_nothing
test_a_file_that_is_there = places.test_a_file_that_is_there_is_not_replaced
test_of_two_that_mark_a_place = places.test_of_two_that_mark_a_place_one_wins
test_a_place_of_another_redis = places.test_a_place_of_another_redis_is_refused_and_says_nothing
test_a_place_that_was_emptied = places.test_a_place_that_was_emptied_says_nothing_of_files
test_parts = places.test_parts_and_what_is_old_are_swept
test_entries = places.test_entries_say_bytes_and_time


@asynccontextmanager
async def google(server: str, patch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Yields the URL of a new bucket."""
    async with in_trouble(server, Trouble(translated=_as_s3)) as root:
        account = {"gcs_base_url": root, "disable_oauth": True, "client_email": "", "private_key": ""}
        patch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account | {"private_key_id": ""}))
        name = f"b{os.urandom(6).hex()}"
        asked = urllib.request.Request(f"{server}/{name}", method="PUT")
        (await asyncio.to_thread(urllib.request.urlopen, asked, timeout=60)).close()
        yield f"gs://{name}"


def _as_s3(head: dict[str, str]) -> dict[str, str]:
    """Says in S3's words that an object must not exist, and who asks."""
    rest = {name: value for name, value in head.items() if not name.startswith("x-goog-")}
    rest["authorization"] = (
        "AWS4-HMAC-SHA256 Credential=id/20260101/us-east-1/s3/aws4_request, SignedHeaders=, Signature="
    )
    return {**rest, "if-none-match": "*"} if head.get("x-goog-if-generation-match") == "0" else rest


@asynccontextmanager
async def azure(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Yields the URL of a new container, at an Azurite that is started for it."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not on the PATH: npm install azurite")
    root = f"http://127.0.0.1:{(port := free_port())}/{ACCOUNT}"
    options = ("--silent", "--skipApiVersionCheck", "--inMemoryPersistence", "--blobPort", str(port))
    running = await asyncio.create_subprocess_exec(program, *options, cwd=directory, stdout=asyncio.subprocess.DEVNULL)
    try:
        name = f"b{os.urandom(6).hex()}"
        await asyncio.wait_for(_make_container(root, name), 120)
        for variable, value in {"NAME": ACCOUNT, "KEY": KEY}.items():
            patch.setenv(f"AZURE_STORAGE_ACCOUNT_{variable}", value)
        patch.setenv("AZURE_STORAGE_ENDPOINT", root)
        yield f"az://{name}"
    finally:
        running.kill()
        await running.wait()


async def _make_container(root: str, name: str) -> None:
    """Makes a container, once Azurite answers."""
    at = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = [*(f"{header}:{value}" for header, value in at.items()), f"/{ACCOUNT}/{ACCOUNT}/{name}"]
    signed = "\n".join(["PUT", *[""] * 11, *lines, "restype:container"])
    digest = hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)
    head = {**at, "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}", "Content-Length": "0"}
    asked = urllib.request.Request(f"{root}/{name}?restype=container", method="PUT", headers=head)
    while True:
        try:
            (await asyncio.to_thread(urllib.request.urlopen, asked, timeout=60)).close()
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            await asyncio.sleep(0.3)


@pytest.fixture(params=["gs", "az"])
async def url(
    request: pytest.FixtureRequest, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    bucket = google(server, monkeypatch) if request.param == "gs" else azure(tmp_path, monkeypatch)
    async with bucket as found:
        yield f"{found}/path"


@pytest.fixture
def place(url: str) -> ObjectStore:
    return ObjectStore.at(url, SHORT)


@pytest.fixture
def storage(place: ObjectStore) -> Storage:
    return Storage(place, Marks())


async def test_a_bucket_that_is_missing_is_no_missing_file(url: str) -> None:
    elsewhere = f"{url.partition('://')[0]}://there-is-none/path"
    storage = Storage(ObjectStore.at(elsewhere, SHORT), Marks(is_new=False))
    with pytest.raises(DataDirUnavailable) as refused:
        await storage.exists("file-1")
    assert "does not exist. Create it" in refused.value.detail
