"""Fireworks as an upstream. The client names its jobs and datasets there, so a GET decides whether one exists.

A lost create is decided by one GET: absence is proof, and the same id sent again cannot make a second job.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnknown
from tunehook.model.job import TAG, JobSpec, Message, UpstreamJob
from tunehook.settings import UpstreamSettings
from tunehook.upstreams import fireworks_dialect as dialect
from tunehook.upstreams import fireworks_log
from tunehook.upstreams import fireworks_requests as requests
from tunehook.upstreams.fireworks_datasets import FireworksDatasets
from tunehook.upstreams.fireworks_deployments import FireworksDeployments
from tunehook.upstreams.lacking import Lacking, WholePages
from tunehook.upstreams.members import is_id, readable, rows, text
from tunehook.upstreams.plain_http import PlainHttp
from tunehook.upstreams.protocol import Identity, Passed
from tunehook.upstreams.upload_address import own_host

#: The largest file that goes in one request; a larger one goes to a signed address.
WHOLE_BYTES = 150_000_000
PAGE = 100
#: Pages without a readable job that are passed over in a row.
EMPTY_PAGES = 10
#: Pages of models that are read of the public account, and of our own.
MODEL_PAGES = 5
PUBLIC = "fireworks"


class FireworksUpstream(FireworksDatasets, FireworksDeployments, WholePages, Lacking):
    """An account at Fireworks. Opens nothing until the first call.

    `whole_bytes`: files above go to a signed address.
    """

    kind = "fireworks"
    identity: Identity = "named"
    deletes_models = True

    def __init__(
        self, name: str, settings: UpstreamSettings, *, account_id: str, whole_bytes: int = WHOLE_BYTES
    ) -> None:
        self.name = name
        self._account_id = account_id
        self._account = f"/v1/accounts/{account_id}"
        base = settings.base_url.removesuffix("/inference/v1").removesuffix("/v1")
        self._allow = own_host(base)
        self._whole_bytes = whole_bytes
        self._http = PlainHttp(name, base, settings.api_key.get_secret_value(), dialect.refusal)
        #: The last job of a page that was read → the collection and the token of the next page.
        self._places: dict[str, tuple[str, str]] = {}

    async def close(self) -> None:
        await self._http.close()

    # ---- jobs

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        """Creates the job under an id of ours, or returns the one that exists under it."""
        folder = requests.collection(spec)
        body = requests.create_body(
            self.name,
            spec,
            tag,
            training=requests.dataset_name(self._account_id, training),
            validation=validation and requests.dataset_name(self._account_id, validation),
            options=spec.options or {},
        )
        query = {dialect.ID_PARAM[folder]: dialect.named(tag)}
        try:
            made = await self._http.post(f"{self._account}/{folder}", body, query)
            return dialect.named_job(self.name, made, folder, tag)
        except UpstreamError as error:
            if error.status in (403, 404):
                await self._check_account()
            if error.code != dialect.EXISTS:
                raise
        raw = await self._named(folder, tag)
        if raw is None:
            raise UpstreamUnknown(upstream=self.name, why="it says that the job exists, and does not show it")
        if not dialect.same_request(raw, spec, training):
            message = f"The upstream has a job {dialect.named(tag)} with another model or dataset. No job was created."
            raise UpstreamRefused(message, upstream=self.name, status=409, code=dialect.EXISTS)
        return dialect.named_job(self.name, raw, folder, tag)

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Returns the job under our id, if it trains what was asked for. An empty list is proof that there is none."""
        folder = requests.collection(spec)
        raw = await self._named(folder, tag)
        if raw is None:
            await self._check_account()
        if raw is None or not dialect.same_request(raw, spec, training):
            return []
        # Its id is made of the tag, which proves that it is ours: one that is an extra may be cancelled.
        return [dialect.named_job(self.name, raw, folder, tag).model_copy(update={"metadata": {TAG: tag}})]

    async def _named(self, folder: str, tag: str) -> dict[str, Any] | None:
        return await self._http.find(f"{self._account}/{folder}/{dialect.named(tag)}")

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        """Returns supervised jobs, newest first, then DPO jobs. A page that another instance left off is read again."""
        if after is None:
            self._places.clear()
            return await self._page(dialect.SUPERVISED, "")
        if after not in self._places:
            jobs, more = await self._page(dialect.SUPERVISED, "")
            while more and jobs and after not in [job.id for job in jobs]:
                jobs, more = await self._page(*self._places[jobs[-1].id])
            following = [job.id for job in jobs].index(after) + 1 if after in [job.id for job in jobs] else 0
            if 0 < following < len(jobs):  # `after` is in the middle of a page
                return jobs[following:], more
            if after not in self._places:
                return [], False
        return await self._page(*self._places[after])

    async def _page(self, folder: str, token: str) -> tuple[list[UpstreamJob], bool]:
        """Reads a page that has a job at least, unless none follows. The last job stands for the next page's place."""
        for _ in range(EMPTY_PAGES):
            query: dict[str, str | int] = {"pageSize": PAGE, "orderBy": "createTime desc"}
            answer = await self._http.get(f"{self._account}/{folder}", query | ({"pageToken": token} if token else {}))
            found = rows(self.name, {folder: [], **answer}, folder)
            jobs = readable(self.name, found, partial(dialect.job, self.name, folder=folder))
            following = text(answer.get("nextPageToken"))
            if following is None and folder == dialect.DPO:
                return jobs, False
            folder, token = (folder, following) if following else (dialect.DPO, "")
            if jobs:
                self._places[jobs[-1].id] = (folder, token)
                return jobs, True
        return [], False

    async def retrieve(self, job_id: str) -> UpstreamJob:
        raw, folder = await self._job(job_id)
        return dialect.job(self.name, raw, folder)

    async def _job(self, job_id: str) -> tuple[dict[str, Any], str]:
        folder, plain = self._place(job_id)
        return await self._http.get(f"{self._account}/{folder}/{plain}"), folder

    def _place(self, job_id: str) -> tuple[str, str]:
        place = dialect.path_of(job_id)
        if place is None:
            raise UpstreamRefused(f"There is no job '{job_id}' at the upstream.", upstream=self.name, status=404)
        return place

    async def cancel(self, job_id: str) -> UpstreamJob:
        folder, plain = self._place(job_id)
        await self._http.send("POST", f"{self._account}/{folder}/{plain}:cancel", body={})
        return await self.retrieve(job_id)

    async def resume(self, job_id: str) -> UpstreamJob:
        folder, plain = self._place(job_id)
        return dialect.job(self.name, await self._http.post(f"{self._account}/{folder}/{plain}:resume", {}), folder)

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        raw, folder = await self._job(job_id)
        return fireworks_log.messages(raw, dialect.job(self.name, raw, folder)), False

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
        """Returns an empty list: Fireworks lists no checkpoints of a job."""
        return {"object": "list", "data": [], "has_more": False}

    # ---- models, chat

    async def models(self) -> list[dict[str, Any]]:
        """Returns the public models and those of our account."""
        found: list[dict[str, Any]] = []
        for account in dict.fromkeys((PUBLIC, self._account_id)):
            token = ""
            for _ in range(MODEL_PAGES):
                query: dict[str, str | int] = {"pageSize": 200} | ({"pageToken": token} if token else {})
                answer = await self._http.get(f"/v1/accounts/{account}/models", query)
                found += dialect.models(rows(self.name, {"models": [], **answer}, "models"), account)
                token = text(answer.get("nextPageToken")) or ""
                if not token:
                    break
        return found

    async def delete_model(self, model: str) -> None:
        """Deletes a model of our account. Raises UpstreamRefused for another's."""
        folder, _, plain = model.rpartition("/")
        if f"/v1/{folder}" != f"{self._account}/models" or not is_id(plain):
            message = f"The model '{model}' is not one of the account '{self._account_id}'."
            raise UpstreamRefused(message, upstream=self.name, status=400, code="wrong_account")
        try:
            await self._http.send("DELETE", f"{self._account}/models/{plain}")
        except UpstreamRefused as refused:
            if refused.status == 404:
                await self._check_account()
            raise

    def chat(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        return self._http.stream("/inference/v1/chat/completions", body)
