"""Fireworks' datasets: the client names them, so a GET decides whether one exists, and whether its bytes are there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnknown
from tunehook.security.allow_list import AllowList
from tunehook.upstreams import fireworks_dialect as dialect
from tunehook.upstreams.file_source import FileSource, file_form, file_source
from tunehook.upstreams.fireworks_account import FireworksAccount
from tunehook.upstreams.lacking import unsupported
from tunehook.upstreams.members import is_id, table, text
from tunehook.upstreams.plain_http import FILE_SECONDS
from tunehook.upstreams.protocol import Content, Progress, Source
from tunehook.upstreams.upload_address import put_file

#: For the call that has a dataset validated, which may read all of it.
VALIDATE_SECONDS = 120.0


class FireworksDatasets(FireworksAccount):
    """The calls about datasets.

    `_allow`: private hosts to which an upload may be sent. `_whole_bytes`: files above go to a signed address.
    """

    _allow: AllowList
    _whole_bytes: int

    async def upload(self, source: Source, filename: str, progress: Progress) -> str:
        """Returns the dataset's id once it is READY. Raises UpstreamNotReady while it is not: find_file asks again."""
        examples = await _examples(source)
        dataset = dialect.named(filename)
        if not await self._begin(dataset, filename, examples):
            async with file_source(source, progress) as counted:
                await self._send(dataset, counted, source.size)
        return await self._when_ready(dataset, await self._dataset(dataset) or {})

    async def _begin(self, dataset: str, filename: str, examples: int) -> bool:
        """Creates the dataset, unless it exists. Returns whether it is READY already."""
        described = {"displayName": filename[:63], "userUploaded": {}, "exampleCount": str(examples)}
        try:
            await self._http.post(f"{self._account}/datasets", {"datasetId": dataset, "dataset": described})
        except UpstreamError as error:
            if error.status in (403, 404):
                await self._check_account()
            if error.code != dialect.EXISTS:
                raise
            found = await self._dataset(dataset)
            return found is not None and text(found.get("state")) == "READY"
        return False

    async def _send(self, dataset: str, source: FileSource, size: int) -> None:
        """Sends the bytes: in one request, or to the signed address, whose signature has both headers."""
        if size > self._whole_bytes:
            file = f"{dataset}.jsonl"
            answer = await self._http.post(
                f"{self._account}/datasets/{dataset}:getUploadEndpoint", {"filenameToSize": {file: str(size)}}
            )
            url = text(table(answer.get("filenameToSignedUrls")).get(file))
            if url is None:
                raise UpstreamUnknown(upstream=self.name, why="it names no address for the upload")
            signed = {"Content-Type": "application/octet-stream", "X-Goog-Content-Length-Range": f"{size},{size}"}
            await put_file(self.name, url, source, size, headers=signed, allow=self._allow)
            return
        headers, head, tail = file_form(f"{dataset}.jsonl", size)
        path, content = f"{self._account}/datasets/{dataset}:upload", source.chunks(head, tail)
        await self._http.send("POST", path, content=content, headers=headers, seconds=FILE_SECONDS)

    async def _when_ready(self, dataset: str, found: dict[str, Any]) -> str:
        """Returns the id of a READY dataset. One that is not has its upload validated, which makes it READY."""
        if text(found.get("state")) != "READY":
            try:
                path = f"{self._account}/datasets/{dataset}:validateUpload"
                await self._http.send("POST", path, body={}, seconds=VALIDATE_SECONDS)
            except UpstreamRefused:
                found = await self._dataset(dataset) or {}
                if text(found.get("state")) != "READY":
                    raise
            found = await self._dataset(dataset) or {}
        return dialect.dataset_id(self.name, found, dataset)

    async def find_file(self, filename: str, size: int) -> str | None:
        """Returns the dataset of that name once it is READY; None if it is not there, or if its bytes are not."""
        dataset = dialect.named(filename)
        found = await self._dataset(dataset)
        if found is None:
            return None
        try:
            return await self._when_ready(dataset, found)
        except UpstreamRefused as refused:
            if refused.status:  # the call was refused, not the data: nothing was uploaded that could be validated
                return None
            raise

    async def _dataset(self, dataset: str) -> dict[str, Any] | None:
        return await self._http.find(f"{self._account}/datasets/{dataset}")

    async def delete_file(self, file_id: str) -> None:
        if not is_id(file_id):
            raise UpstreamRefused(f"'{file_id}' is not a dataset's id.", upstream=self.name, status=404)
        await self._http.send("DELETE", f"{self._account}/datasets/{file_id}")

    async def result(self, file_id: str) -> bytes:
        raise unsupported(self.name, "result files", "The job's events tell its progress.")

    def content(self, file_id: str) -> AbstractAsyncContextManager[Content]:
        instead = "Download the dataset from Fireworks and upload it here with POST /v1/files."
        raise unsupported(self.name, "download of datasets that Tunehook uses", instead)


async def _examples(source: Source) -> int:
    """Returns the number of lines that are not blank."""
    examples, rest = 0, b""
    async for chunk in source.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        examples += sum(1 for line in lines if line.strip())
    return examples + bool(rest.strip())
