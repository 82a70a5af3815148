"""Nebius Token Factory as its cookbook's recorded answers show it: files, jobs, events, checkpoints, chat.

Nothing moves by itself: a test moves the jobs with `set_status`. No official client exists but OpenAI's.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.vendor_faults import FakeVendor, Handler, json_answer, json_body, running

TUNABLE = "meta-llama/Llama-3.1-8B-Instruct"
ENDED = ("succeeded", "failed", "cancelled")
#: Hyperparameters as the service resolves them: `lora` is false unless the client says otherwise.
RESOLVED = {
    "batch_size": 8,
    "learning_rate": 1e-05,
    "n_epochs": 3,
    "lora": False,
    "lora_r": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
    "packing": True,
    "context_length": 8192,
    "warmup_ratio": 0.0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "learning_rate_multiplier": None,
}


@dataclass
class FakeNebius(FakeVendor):
    """`keeps_metadata`: whether a job shows what was sent. `shows_suffix`: whether the list shows a job's suffix."""

    key: str = "nb-simulated"
    keeps_metadata: bool = False
    shows_suffix: bool = True
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)  #: of creates, as they were sent
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tunable: set[str] = field(default_factory=lambda: {TUNABLE})
    deployed: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: int = 1  #: how often a model is shown as `validating`
    fails: str | None = None  #: a new model becomes `error` with this reason
    clock: int = 1795700000

    def now(self) -> int:
        self.clock += 1
        return self.clock

    def set_status(self, status: str, **members: Any) -> None:
        """Moves every job that has not ended. A finished job names no model: that has to be deployed first."""
        said = {"succeeded": "Training completed successfully", "running": "Training started"}
        for job in self.jobs.values():
            if job["status"] not in ENDED:
                job |= {"status": status, **members}
                if status in ENDED:
                    job |= {"finished_at": self.now(), "trained_tokens": 1200, "trained_steps": 6, "total_steps": 6}
                self.tell(job["id"], said.get(status, f"Job is {status}"))

    def tell(self, job_id: str, message: str) -> None:
        event = {"object": "fine_tuning.job.event", "id": f"ftevent-{secrets.token_hex(8)}", "created_at": self.now()}
        self.events[job_id].append(event | {"level": "info", "message": message, "type": "message", "data": None})

    def refusal(self, status: int, message: str) -> web.Response:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return json_answer({"error": error}, status)

    def routes(self) -> list[tuple[str, str, str, Handler]]:
        tuning = "/v1/fine_tuning/jobs"
        return [
            ("upload", "POST", "/v1/files", self._upload),
            ("list files", "GET", "/v1/files", self._list_files),
            ("delete file", "DELETE", "/v1/files/{id}", self._delete_file),
            ("create job", "POST", tuning, self._create_job),
            ("list jobs", "GET", tuning, self._list_jobs),
            ("get job", "GET", f"{tuning}/{{id}}", self._get_job),
            ("cancel job", "POST", f"{tuning}/{{id}}/cancel", self._cancel_job),
            ("events", "GET", f"{tuning}/{{id}}/events", self._events),
            ("checkpoints", "GET", f"{tuning}/{{id}}/checkpoints", self._checkpoints),
            ("models", "GET", "/v1/models", self._models),
            ("create deployment", "POST", "/v0/models", self._deploy),
            ("list deployments", "GET", "/v0/models", self._list_deployed),
            ("get deployment", "GET", "/v0/models/{name:.+}", self._get_deployed),
            ("delete deployment", "DELETE", "/v0/models/{name:.+}", self._undeploy),
            ("chat", "POST", "/v1/chat/completions", self._chat),
        ]

    # ---- files

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        file = form["file"]
        assert isinstance(file, web.FileField)
        file_id = f"file-{secrets.token_hex(16)}"
        content = file.file.read()
        self.contents[file_id] = content
        self.files[file_id] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": self.now(),
            "filename": file.filename,
            "purpose": form["purpose"],
            "status": None,
        }
        return json_answer(self.files[file_id])

    async def _list_files(self, request: web.Request) -> web.Response:
        return json_answer({"object": "list", "data": list(self.files.values()), "has_more": False})

    async def _delete_file(self, request: web.Request) -> web.Response:
        found = self.files.pop(request.match_info["id"], None)
        if found is None:
            return self.refusal(404, "File not found")
        return json_answer({"id": found["id"], "object": "file", "deleted": True})

    # ---- jobs

    async def _create_job(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        self.bodies.append(body)
        if "method" in body and "hyperparameters" in body:
            return self.refusal(400, "Only one of 'method' or 'hyperparameters' must be provided")
        if body.get("model") not in self.tunable:
            return self.refusal(400, "model: value is not a valid enumeration member")
        if body["training_file"] not in self.files:
            return self.refusal(400, f"File {body['training_file']} not found")
        if len(body.get("suffix") or "") > 64:
            return self.refusal(400, "suffix: ensure this value has at most 64 characters")
        job_id = f"ftjob-{secrets.token_hex(16)}"
        self.jobs[job_id] = {
            "id": job_id,
            "object": "fine_tuning.job",
            "created_at": self.now(),
            "finished_at": None,
            "model": body["model"].replace("/Llama-3.1", "/Meta-Llama-3.1"),
            "fine_tuned_model": None,
            "organization_id": "",
            "status": "running",
            "error": None,
            "hyperparameters": RESOLVED | (body.get("hyperparameters") or {}),
            "method": None,
            "integrations": [],
            "metadata": body.get("metadata") if self.keeps_metadata else None,
            "result_files": [],
            "seed": body.get("seed", 42),
            "suffix": body.get("suffix") or "",
            "trained_steps": 0,
            "trained_tokens": 0,
            "total_steps": None,
            "training_file": body["training_file"],
            "validation_file": body.get("validation_file") or "",
        }
        self.events[job_id] = []
        self.tell(job_id, "Job is submitted")
        return json_answer(self.jobs[job_id])

    def _shown(self, job: dict[str, Any]) -> dict[str, Any]:
        return job if self.shows_suffix else {**job, "suffix": ""}

    async def _list_jobs(self, request: web.Request) -> web.Response:
        """All jobs at once, newest first; unknown query members, such as a filter by metadata, are ignored."""
        newest_first = sorted(self.jobs.values(), key=lambda job: int(job["created_at"]), reverse=True)
        return json_answer({"object": "list", "data": [self._shown(job) for job in newest_first], "has_more": False})

    async def _get_job(self, request: web.Request) -> web.Response:
        found = self.jobs.get(request.match_info["id"])
        return json_answer(self._shown(found)) if found else self.refusal(404, "Job not found")

    async def _cancel_job(self, request: web.Request) -> web.Response:
        found = self.jobs.get(request.match_info["id"])
        if found is None or found["status"] in ENDED:
            return self.refusal(404 if found is None else 400, "The job cannot be cancelled")
        found |= {"status": "cancelled", "finished_at": self.now()}
        return json_answer(found)

    async def _events(self, request: web.Request) -> web.Response:
        """Oldest first, as in the cookbook."""
        found = self.events.get(request.match_info["id"], [])
        return json_answer({"object": "list", "data": found, "has_more": False})

    async def _checkpoints(self, request: web.Request) -> web.Response:
        rows = [
            {
                "id": f"ftckpt_{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": self.clock,
                "fine_tuned_model_checkpoint": "",
                "fine_tuning_job_id": request.match_info["id"],
                "metrics": {"step": step, "train_loss": 1.5},
                "result_files": [f"file-weights-{step}"],
                "step_number": step,
            }
            for step in (6, 3)
        ]
        return json_answer({"object": "list", "data": rows, "has_more": False})

    # ---- models, chat

    async def _models(self, request: web.Request) -> web.Response:
        data = [{"id": TUNABLE, "object": "model", "created": 1, "owned_by": "system"}]
        return json_answer({"object": "list", "data": data})

    async def _deploy(self, request: web.Request) -> web.Response:
        """As in the cookbook: the name has the base, ours and four characters; the first answer may have no status."""
        body = await json_body(request)
        job_id, _, checkpoint = body["source"].partition(":")
        if job_id not in self.jobs or not checkpoint.startswith("ftckpt_"):
            return self.refusal(404, f"Checkpoint {body['source']} not found")
        base = body["base_model"].replace("/Llama-3.1", "/Meta-Llama-3.1")
        name = f"{base}-LoRa:{body['name']}-{secrets.token_urlsafe(3)}"
        self.deployed[name] = {**body, "name": name, "status": "validating", "looks": self.looks}
        return json_answer({"name": name, "status": "validating"})

    async def _list_deployed(self, request: web.Request) -> web.Response:
        return json_answer({"data": list(self.deployed.values())})

    async def _get_deployed(self, request: web.Request) -> web.Response:
        found = self.deployed.get(request.match_info["name"])
        if found is None:
            return self.refusal(404, "Model not found")
        found["looks"] -= 1
        if found["looks"] < 0:
            found |= {"status": "error", "status_reason": self.fails} if self.fails else {"status": "active"}
        return json_answer(found)

    async def _undeploy(self, request: web.Request) -> web.Response:
        if self.deployed.pop(request.match_info["name"], None) is None:
            return self.refusal(404, "Model not found")
        return json_answer({})

    async def _chat(self, request: web.Request) -> web.Response:
        model = (await json_body(request))["model"]
        if self.deployed.get(model, {}).get("status") != "active":
            return self.refusal(404, f"The model {model} does not exist.")
        message = {"role": "assistant", "content": "Hello"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return json_answer(
            {"id": "chat-1", "object": "chat.completion", "created": 1, "model": model, "choices": choices}
        )


@asynccontextmanager
async def running_nebius() -> AsyncIterator[FakeNebius]:
    fake = FakeNebius()
    async with running(fake):
        yield fake
