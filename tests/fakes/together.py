"""Together as its package together 3.1.1 describes it: files, fine-tunes, their events, metrics and checkpoints, chat.

Its official client is driven against this server by tests/compat/check_together.py. Nothing moves by itself but a file
that was preprocessed: a test moves a job with `set_status`.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.fakes.vendor_faults import FakeVendor, Handler, json_answer, json_body, running

TUNABLE = "meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"
ENDED = ("completed", "cancelled", "error", "user_error")
#: Members that a retrieved job shows of those that the list has: neither suffix nor seed.
HIDDEN = frozenset({"suffix", "random_seed", "wandb_name"})
LIMITS = {
    "model_name": TUNABLE,
    "default_gradient_accumulation_steps": 1,
    "max_num_epochs": 20,
    "max_num_evals": 100,
    "max_num_checkpoints": 20,
    "max_learning_rate": 1.0,
    "min_learning_rate": 0.0,
    "max_seq_length_sft": 8192,
    "max_seq_length_dpo": 8192,
    "min_max_seq_length": 512,
    "merge_output_lora": True,
    "supports_full_training": False,
    "supports_reasoning": False,
    "supports_tools": True,
    "supports_vision": False,
    "lora_training": {
        "default_rank": 64,
        "max_rank": 64,
        "min_batch_size": 8,
        "max_batch_size": 32,
        "max_batch_size_dpo": 16,
        "target_modules": ["q_proj"],
    },
}


@dataclass
class FakeTogether(FakeVendor):
    """`storage`: where the bytes go, this server unless a test names another host."""

    key: str = "tg-simulated"
    storage: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)  #: file id → as announced
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    never_checked: bool = False  #: a preprocessed file stays RUNNING
    bad_data: str | None = None  #: a preprocessed file is INVALID_FORMAT, with this error
    tunable: set[str] = field(default_factory=lambda: {TUNABLE})
    _clock: datetime = datetime(2026, 11, 26, tzinfo=UTC)

    def now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.isoformat().replace("+00:00", "Z")

    def set_status(self, status: str, **members: Any) -> None:
        """Moves every job that has not ended."""
        for job in self.jobs.values():
            if job["status"] not in ENDED:
                job |= {"status": status, "updated_at": self.now(), **members}
                if status == "completed":
                    job["model_output_name"] = f"acme/{job['model'].partition('/')[2]}-{job['suffix']}-0001"

    def tell(self, kind: str, message: str, *, level: str = "info", **members: Any) -> None:
        """Adds an event to every job."""
        for events in self.events.values():
            event = {"object": "fine-tune-event", "created_at": self.now(), "level": level, "type": kind}
            events.append(event | {"message": message, **members})

    def refusal(self, status: int, message: str) -> web.Response:
        kind = "invalid_request_error" if status < 500 else "server_error"
        return json_answer({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        return [
            ("begin file", "POST", "/v1/files", self._begin_file),
            ("list files", "GET", "/v1/files", self._list_files),
            ("get file", "GET", "/v1/files/{id}", self._get_file),
            ("delete file", "DELETE", "/v1/files/{id}", self._delete_file),
            ("preprocess", "POST", "/v1/files/{id}/preprocess", self._preprocess),
            ("put", "PUT", "/storage/{id}", self._put),
            ("create job", "POST", "/v1/fine-tunes", self._create_job),
            ("list jobs", "GET", "/v1/fine-tunes", self._list_jobs),
            ("models", "GET", "/v1/fine-tunes/models/supported", self._models),
            ("limits", "GET", "/v1/fine-tunes/models/limits", self._limits),
            ("estimate", "POST", "/v1/fine-tunes/estimate-price", self._estimate),
            ("get job", "GET", "/v1/fine-tunes/{id}", self._get_job),
            ("cancel job", "POST", "/v1/fine-tunes/{id}/cancel", self._cancel_job),
            ("events", "GET", "/v1/fine-tunes/{id}/events", self._events),
            ("metrics", "GET", "/v1/fine-tunes/{id}/metrics", self._metrics),
            ("checkpoints", "GET", "/v1/fine-tunes/{id}/checkpoints", self._checkpoints),
            ("chat", "POST", "/v1/chat/completions", self._chat),
        ]

    # ---- files

    async def _begin_file(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not request.content_type.startswith("multipart/") or form.get("purpose") != "fine-tune":
            return self.refusal(400, "A form with purpose=fine-tune is needed")
        checksum, name = str(form["checksum"]), str(form["file_name"])
        same = next((file_id for file_id, known in self.checksums.items() if known == checksum), None)
        if same is not None and same in self.contents:
            return json_answer({"file_id": same}, 409)
        file_id = f"file-{len(self.checksums):08d}"
        self.checksums[file_id] = checksum
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "filename": name,
            "bytes": 0,
            "created_at": 1795300000,
            "purpose": "fine-tune",
            "FileType": form["file_type"],
            "processing_status": "PENDING",
        }
        address = f"{self.storage or self.url}/storage/{file_id}?signature=a%2Fb%2Bc"
        return web.Response(status=302, headers={"Location": address, "X-Together-File-Id": file_id})

    async def _put(self, request: web.Request) -> web.Response:
        if request.headers.get("content-length") is None:
            return web.Response(status=411)
        if not request.path_qs.endswith("?signature=a%2Fb%2Bc"):
            return web.Response(status=403, text="<Error><Code>SignatureDoesNotMatch</Code></Error>")
        self.keep(request.match_info["id"], await request.read())
        return web.Response()

    def keep(self, file_id: str, content: bytes) -> None:
        self.contents[file_id] = content
        self.files[file_id]["bytes"] = len(content)

    async def _list_files(self, request: web.Request) -> web.Response:
        return json_answer({"data": list(self.files.values())})

    def _known(self, shelf: dict[str, dict[str, Any]], request: web.Request) -> dict[str, Any] | web.Response:
        name = request.match_info["id"]
        return shelf.get(name) or self.refusal(404, f"{name} not found")

    async def _get_file(self, request: web.Request) -> web.Response:
        found = self._known(self.files, request)
        return found if isinstance(found, web.Response) else json_answer(found)

    async def _delete_file(self, request: web.Request) -> web.Response:
        found = self._known(self.files, request)
        if isinstance(found, web.Response):
            return found
        for shelf in (self.files, self.checksums, self.contents):
            shelf.pop(found["id"], None)
        return json_answer({"id": found["id"], "deleted": True})

    async def _preprocess(self, request: web.Request) -> web.Response:
        found = self._known(self.files, request)
        if isinstance(found, web.Response):
            return found
        content = self.contents.get(found["id"], b"")
        if hashlib.sha256(content).hexdigest() != self.checksums[found["id"]]:
            return self.refusal(400, "The checksum does not match")
        if self.bad_data:
            report = {"valid": False, "error": self.bad_data, "error_type": "INVALID_FORMAT", "file_id": found["id"]}
            found |= {"processing_status": "INVALID_FORMAT", "validation_report": report}
        else:
            found["processing_status"] = "RUNNING" if self.never_checked else "COMPLETED"
        return json_answer(found)

    # ---- jobs

    async def _create_job(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        file = self.files.get(body["training_file"])
        if body.get("model") not in self.tunable:
            return self.refusal(400, f"Model {body.get('model')} is not supported for fine-tuning")
        if file is None or file["processing_status"] != "COMPLETED":
            return self.refusal(400, f"File {body['training_file']} is not ready")
        job_id, now = f"ft-{len(self.jobs):08d}-0000", self.now()
        self.jobs[job_id] = {
            "random_seed": 42,
            **body,
            "batch_size": body["batch_size"] if isinstance(body.get("batch_size"), int) else 8,
            "id": job_id,
            "status": "pending",
            "user_id": "user-1",
            "created_at": now,
            "updated_at": now,
            "model_output_name": None,
            "adapter_output_name": None,
        }
        self.events[job_id] = []
        self.tell("job_pending", "Fine tune request created")
        return json_answer(self.jobs[job_id])

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return json_answer({"data": list(self.jobs.values())})

    async def _get_job(self, request: web.Request) -> web.Response:
        found = self._known(self.jobs, request)
        if isinstance(found, web.Response):
            return found
        return json_answer({name: value for name, value in found.items() if name not in HIDDEN})

    async def _cancel_job(self, request: web.Request) -> web.Response:
        found = self._known(self.jobs, request)
        if isinstance(found, web.Response):
            return found
        if found["status"] in ENDED:
            return self.refusal(400, f"The job is {found['status']}")
        found |= {"status": "cancel_requested", "updated_at": self.now()}
        return json_answer(found)

    async def _events(self, request: web.Request) -> web.Response:
        return json_answer({"data": self.events.get(request.match_info["id"], [])})

    async def _metrics(self, request: web.Request) -> web.Response:
        rows = [
            {"train/global_step": 1.0, "train/loss": 2.5},
            {"train/global_step": 2.0, "train/loss": 1.25, "eval/loss": 1.5},
        ]
        return json_answer({"metrics": rows})

    async def _checkpoints(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        rows = [
            {
                "step": step,
                "checkpoint_type": kind,
                "path": f"s3://checkpoints/{job_id}/{step}",
                "created_at": f"2026-11-26T00:00:{step:02d}Z",
                "object_name": f"acme/{job_id}-step-{step}",
            }
            for step, kind in ((10, "Intermediate"), (20, "Final"))
        ]
        return json_answer({"data": rows})

    # ---- models, prices, chat

    async def _models(self, request: web.Request) -> web.Response:
        return json_answer({"models": [TUNABLE]})

    async def _limits(self, request: web.Request) -> web.Response:
        return json_answer(LIMITS)

    async def _estimate(self, request: web.Request) -> web.Response:
        file = self.files.get((await json_body(request))["training_file"])
        if file is None or file["processing_status"] != "COMPLETED":
            return json_answer({"estimation_available": False, "unavailable_reason": "train_file_not_validated"})
        told = {"estimated_total_price": 4.5, "estimated_train_token_count": 1_000_000, "estimated_eval_token_count": 0}
        return json_answer({"estimation_available": True, "allowed_to_proceed": True, "user_limit": 100.0, **told})

    async def _chat(self, request: web.Request) -> web.Response:
        model = (await json_body(request))["model"]
        message = f"Unable to access non-serverless model {model}. Create an endpoint for it."
        if not (await json_body(request))["messages"]:
            return self.refusal(400, "No messages")
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "model_not_available"}
        return json_answer({"id": "o1", "error": error}, 400)


@asynccontextmanager
async def running_together() -> AsyncIterator[FakeTogether]:
    fake = FakeTogether()
    async with running(fake, keyless=frozenset({"put"})):
        yield fake
