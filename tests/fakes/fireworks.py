"""Fireworks as its package fireworks-ai 1.2.30 describes it: datasets, supervised and DPO jobs, models, chat.

Its official client is driven against this server by tests/compat/check_fireworks.py. Nothing moves by itself but a
dataset that was validated: a test moves a job with `set_state`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.fakes.fireworks_deployments import FakeDeployments
from tests.fakes.vendor_faults import FakeVendor, Handler, json_answer, json_body, running

SUPERVISED, DPO = "supervisedFineTuningJobs", "dpoJobs"
ID_PARAMS = {SUPERVISED: "supervisedFineTuningJobId", DPO: "dpoJobId"}
TUNABLE = "accounts/fireworks/models/llama-v3p1-8b-instruct"
WHOLE_BYTES = 150_000_000
#: google.rpc.Code by the HTTP status that grpc-gateway makes of it.
CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 412: 9, 429: 8, 500: 13, 503: 14}


@dataclass
class Uploaded:
    """A dataset: its resource as it is shown, the sizes announced for signed addresses, and its bytes."""

    shown: dict[str, Any]
    announced: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass
class FakeFireworks(FakeVendor):
    key: str = "fw-simulated"
    account: str = "acme"
    datasets: dict[str, Uploaded] = field(default_factory=dict)
    jobs: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {SUPERVISED: {}, DPO: {}})
    wrong_account: int = 403  #: how a call on another account is refused
    never_ready: bool = False  #: a validated dataset stays UPLOADING
    bad_data: str | None = None  #: a validated dataset gets this status message
    signatures: list[str] = field(default_factory=list)  #: of signed addresses that are valid
    tunable: set[str] = field(default_factory=lambda: {TUNABLE})
    deleted: set[str] = field(default_factory=set)  #: models
    _clock: datetime = datetime(2026, 11, 26, tzinfo=UTC)

    def __post_init__(self) -> None:
        self.deployments = FakeDeployments(self.account, self.refusal, self.now)

    def now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.isoformat().replace("+00:00", ".123456789Z")

    def name(self, folder: str, name: str) -> str:
        return f"accounts/{self.account}/{folder}/{name}"

    def all_jobs(self) -> list[dict[str, Any]]:
        return [job for folder in self.jobs.values() for job in folder.values()]

    def ended(self) -> list[dict[str, Any]]:
        return [job for job in self.all_jobs() if job["state"] == "JOB_STATE_COMPLETED"]

    def set_state(self, state: str, **members: Any) -> None:
        """Moves every job that has not ended."""
        for job in self.all_jobs():
            if job["state"] not in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"):
                job |= {"state": state, "updateTime": self.now(), **members}
                if state == "JOB_STATE_COMPLETED":
                    job["completedTime"] = self.now()

    def refusal(self, status: int, message: str) -> web.Response:
        return json_answer({"code": CODES.get(status, 2), "message": message, "details": []}, status)

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        account = "/v1/accounts/{account}"
        found: list[tuple[str, str, str, Handler]] = [
            ("create dataset", "POST", f"{account}/datasets", self._create_dataset),
            ("list datasets", "GET", f"{account}/datasets", self._list_datasets),
            ("get dataset", "GET", f"{account}/datasets/{{id}}", self._get_dataset),
            ("delete dataset", "DELETE", f"{account}/datasets/{{id}}", self._delete_dataset),
            ("upload", "POST", f"{account}/datasets/{{id}}:upload", self._upload),
            ("get upload endpoint", "POST", f"{account}/datasets/{{id}}:getUploadEndpoint", self._sign),
            ("validate upload", "POST", f"{account}/datasets/{{id}}:validateUpload", self._validate),
            ("put", "PUT", "/storage/{id}/{file}", self._put),
            ("models", "GET", f"{account}/models", self._models),
            ("delete model", "DELETE", f"{account}/models/{{id}}", self._delete_model),
            ("chat", "POST", "/inference/v1/chat/completions", self._chat),
            (
                "chat",
                "POST",
                "/v1/chat/completions",
                self._chat,
            ),  # where a base URL is set, the official client asks so
        ]
        found += self.deployments.routes(f"{account}/deployments")
        for folder in ID_PARAMS:
            found += [
                ("create job", "POST", f"{account}/{{folder:{folder}}}", self._create_job),
                ("list jobs", "GET", f"{account}/{{folder:{folder}}}", self._list_jobs),
                ("get job", "GET", f"{account}/{{folder:{folder}}}/{{id}}", self._get_job),
                ("cancel job", "POST", f"{account}/{{folder:{folder}}}/{{id}}:cancel", self._cancel_job),
                ("resume job", "POST", f"{account}/{{folder:{folder}}}/{{id}}:resume", self._resume_job),
            ]
        return found

    def _wrong(self, request: web.Request) -> web.Response | None:
        asked = request.match_info["account"]
        if asked in (self.account, "fireworks"):
            return None
        return self.refusal(self.wrong_account, f"Account {asked} not found or not permitted")

    # ---- datasets

    async def _create_dataset(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        dataset = body["datasetId"]
        if wrong := self._wrong(request):
            return wrong
        if dataset in self.datasets:
            return self.refusal(409, f"Dataset {dataset} already exists")
        shown = {
            "name": self.name("datasets", dataset),
            "state": "UPLOADING",
            "createTime": self.now(),
            **body["dataset"],
        }
        self.datasets[dataset] = Uploaded(shown)
        return json_answer(shown)

    async def _list_datasets(self, request: web.Request) -> web.Response:
        shown = [found.shown for found in self.datasets.values()]
        return self._wrong(request) or json_answer({"datasets": shown} if shown else {})

    def _dataset(self, request: web.Request) -> Uploaded | web.Response:
        found = self.datasets.get(request.match_info["id"])
        return self._wrong(request) or found or self.refusal(404, f"Dataset {request.match_info['id']} not found")

    async def _get_dataset(self, request: web.Request) -> web.Response:
        found = self._dataset(request)
        return found if isinstance(found, web.Response) else json_answer(found.shown)

    async def _delete_dataset(self, request: web.Request) -> web.Response:
        found = self._dataset(request)
        if isinstance(found, web.Response):
            return found
        del self.datasets[request.match_info["id"]]
        return json_answer({})

    async def _upload(self, request: web.Request) -> web.Response:
        found = self._dataset(request)
        if isinstance(found, web.Response):
            return found
        file = (await request.post())["file"]
        assert isinstance(file, web.FileField)
        content = file.file.read()
        if len(content) > WHOLE_BYTES:
            return self.refusal(400, "The file is larger than 150 MB")
        found.content = content
        return json_answer({"id": request.match_info["id"], "filename": file.filename, "bytes": len(content)})

    async def _sign(self, request: web.Request) -> web.Response:
        found = self._dataset(request)
        if isinstance(found, web.Response):
            return found
        found.announced = (await json_body(request))["filenameToSize"]
        urls = {}
        for file in found.announced:
            signature = f"s/{len(self.signatures)}+x"
            self.signatures.append(signature)
            urls[file] = f"{self.url}/storage/{request.match_info['id']}/{file}?X-Goog-Signature={quote(signature, '')}"
        return json_answer({"filenameToSignedUrls": urls})

    async def _put(self, request: web.Request) -> web.Response:
        """Google's storage: the signature covers two headers, and a key of ours has no place here."""
        found = self.datasets[request.match_info["id"]]
        size = found.announced[request.match_info["file"]]
        if request.query["X-Goog-Signature"] not in self.signatures:
            return web.Response(status=400, text="<Error><Code>ExpiredToken</Code></Error>")
        if request.headers.get("content-length") is None:
            return web.Response(status=411)
        signed = (request.headers.get("content-type"), request.headers.get("x-goog-content-length-range"))
        if signed != ("application/octet-stream", f"{size},{size}"):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        found.content = await request.read()
        return web.Response()

    async def _validate(self, request: web.Request) -> web.Response:
        found = self._dataset(request)
        if isinstance(found, web.Response):
            return found
        if found.content is None:
            return self.refusal(400, "No file was uploaded")
        if self.bad_data:
            found.shown["status"] = {"code": "INVALID_ARGUMENT", "message": self.bad_data}
        elif not self.never_ready:
            found.shown |= {"state": "READY", "status": {"code": "OK", "message": ""}}
        return json_answer({})

    # ---- jobs

    async def _create_job(self, request: web.Request) -> web.Response:
        folder, body = request.match_info["folder"], await json_body(request)
        job_id = request.query.get(ID_PARAMS[folder], f"made-{len(self.all_jobs())}")
        base = (body.get("trainingConfig") or body).get("baseModel")
        dataset = self.datasets.get(body["dataset"].rpartition("/")[2])
        if wrong := self._wrong(request):
            return wrong
        if job_id in self.jobs[folder]:
            return self.refusal(409, f"{folder}/{job_id} already exists")
        if base not in self.tunable:
            return self.refusal(400, f"Model {base} is not tunable")
        if dataset is None or dataset.shown["state"] != "READY":
            return self.refusal(400, f"Dataset {body['dataset']} is not ready")
        now = self.now()
        job = {**body, "name": self.name(folder, job_id), "state": "JOB_STATE_CREATING", "createTime": now}
        self.jobs[folder][job_id] = job | {"updateTime": now, "status": {"code": "OK", "message": ""}}
        return json_answer(self.jobs[folder][job_id])

    async def _list_jobs(self, request: web.Request) -> web.Response:
        folder, size = request.match_info["folder"], min(200, int(request.query.get("pageSize", 50)))
        newest_first = sorted(self.jobs[folder].values(), key=lambda job: str(job["createTime"]), reverse=True)
        begin = int(request.query.get("pageToken") or 0)
        page = newest_first[begin : begin + size]
        following = str(begin + size) if begin + size < len(newest_first) else ""
        return json_answer({folder: page, "nextPageToken": following, "totalSize": len(newest_first)} if page else {})

    def _job(self, request: web.Request) -> dict[str, Any] | web.Response:
        folder, job_id = request.match_info["folder"], request.match_info["id"]
        return self._wrong(request) or self.jobs[folder].get(job_id) or self.refusal(404, f"{job_id} not found")

    async def _get_job(self, request: web.Request) -> web.Response:
        found = self._job(request)
        return found if isinstance(found, web.Response) else json_answer(found)

    async def _cancel_job(self, request: web.Request) -> web.Response:
        found = self._job(request)
        if isinstance(found, web.Response):
            return found
        if found["state"] in ("JOB_STATE_COMPLETED", "JOB_STATE_FAILED"):
            return self.refusal(400, "The job has ended")
        found |= {"state": "JOB_STATE_CANCELLED", "updateTime": self.now()}
        return json_answer({})

    async def _resume_job(self, request: web.Request) -> web.Response:
        found = self._job(request)
        if isinstance(found, web.Response):
            return found
        found |= {"state": "JOB_STATE_RUNNING", "updateTime": self.now()}
        return json_answer(found)

    # ---- models, chat

    async def _models(self, request: web.Request) -> web.Response:
        if request.match_info["account"] != "fireworks":
            return json_answer({})
        return json_answer({"models": [{"name": TUNABLE, "tunable": True, "createTime": self.now()}]})

    async def _delete_model(self, request: web.Request) -> web.Response:
        name = self.name("models", request.match_info["id"])
        made = {
            job.get("outputModel", self.name("models", str(job["name"]).rpartition("/")[2])) for job in self.ended()
        }
        if request.match_info["account"] != self.account:
            return self.refusal(403, "Not permitted")
        if name not in made - self.deleted:
            return self.refusal(404, f"Model {name} not found")
        if any(one["baseModel"] == name for one in self.deployments.live()):
            return self.refusal(400, f"Model {name} is deployed")
        self.deleted.add(name)
        return json_answer({})

    async def _chat(self, request: web.Request) -> web.Response:
        model = (await json_body(request))["model"]
        running = {one["name"] for one in self.deployments.live() if one["state"] == "READY"}
        if model.partition("#")[2] not in running:
            return self.refusal(404, f"Model {model} not found, inaccessible, and/or not deployed")
        message = {"role": "assistant", "content": "Hello"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        answer = {"id": "chat-1", "object": "chat.completion", "created": 1, "model": model, "choices": choices}
        return json_answer(answer)


@asynccontextmanager
async def running_fireworks(account: str = "acme") -> AsyncIterator[FakeFireworks]:
    fake = FakeFireworks(account=account)
    async with running(fake, keyless=frozenset({"put"})):
        yield fake
