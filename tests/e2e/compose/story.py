"""What the stories of the compose test share: checks that are told, a job from its dataset to its webhook."""

import json
import sys
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from openai import OpenAI

from tests.e2e.compose.stack import Stack

MODEL = "gpt-4.1-mini-2025-04-14"
JOB_SECONDS = 200.0  # a minute of training, a restart or two, and what they cost
DATASET = b"".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n} + 1?"}, {"role": "assistant", "content": str(n + 1)}]})
    .encode() + b"\n"
    for n in range(20)
)  # fmt: skip


class Story(ABC):
    """Checks of one stack in the order they are made; the first that fails ends the run."""

    client: OpenAI

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.passed = 0
        self.began = time.monotonic()

    @abstractmethod
    def run(self) -> None: ...

    def check(self, what: str, holds: bool, seen: object = "") -> None:
        assert holds, f"{what}: {seen}"
        self.passed += 1
        say(f"ok  {time.monotonic() - self.began:5.1f} s  {what} {seen}".rstrip())

    def start(self) -> None:
        """Starts the stack, and returns once all of it is healthy."""
        self.stack.compose("up", "--detach", "--wait", "--wait-timeout", "300")
        self.check("everything is healthy", True)
        self.client = OpenAI(
            base_url=f"http://{self.stack.address('service', 8080)}/v1",
            api_key=self.stack.settings["TUNEHOOK_BOOTSTRAP_KEY"],
            max_retries=8,  # Redis is restarted: the SDK waits up to 8 s between its tries
        )

    def hardened(self, *services: str) -> None:
        for service in services:
            (container,) = self.stack.containers(service)
            config, host = container["Config"], container["HostConfig"]
            self.check(f"{service} is not root", config["User"].split(":")[0] not in {"", "0", "root"})
            self.check(f"{service} is read-only", host["ReadonlyRootfs"])
            privileges = (host["CapDrop"], host["CapAdd"], host["SecurityOpt"], host["Privileged"])
            self.check(
                f"{service} has no privileges and gets none",
                privileges == (["ALL"], None, ["no-new-privileges:true"], False),
                privileges,
            )
            limits = (host["Memory"], host["PidsLimit"], host["Init"])
            self.check(f"{service} has limits and an init", all(limits), limits)

    def start_job(self, name: str) -> str:
        file = self.client.files.create(file=(f"{name}.jsonl", DATASET), purpose="fine-tune")
        job = self.client.fine_tuning.jobs.create(
            training_file=file.id, model=MODEL, extra_body={"callback_url": f"http://receiver:9000/{name}"}
        )
        return job.id

    def told(self, name: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://{self.stack.address('receiver', 9000)}/") as answer:
            return [post for post in json.load(answer) if post["path"] == f"/{name}"]

    def finish_job(self, name: str, job_id: str) -> str:
        """Waits for the webhook, verifies it, and returns the new model's id."""
        wait_until(f"the webhook of the {name} job", lambda: bool(self.told(name)), JOB_SECONDS)
        posts = self.told(name)
        event = self.client.webhooks.unwrap(
            posts[0]["body"], posts[0]["headers"], secret=self.stack.settings["TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET"]
        )
        self.check(f"the {name} job's webhook verifies:", event.type == "fine_tuning.job.succeeded", event.type)
        ids = {post["headers"]["webhook-id"] for post in posts}
        self.check(f"the {name} job was told once", len(ids) == 1, ids)
        data = json.loads(posts[0]["body"])["data"]
        job = self.client.fine_tuning.jobs.retrieve(job_id)
        self.check(f"webhook and API agree on the {name} job", (job.id, job.status, job.fine_tuned_model)
                   == (data["id"], "succeeded", data["fine_tuned_model"]), data)  # fmt: skip
        return str(data["fine_tuned_model"])

    def upstream_jobs(self) -> int:
        simulator = OpenAI(
            base_url=f"http://{self.stack.address('simulator', 4010)}/v1",
            api_key=self.stack.settings["OPENAI_API_KEY"],
        )
        return len([*simulator.fine_tuning.jobs.list()])

    def the_logs(self) -> None:
        logs = self.stack.compose("logs", "--no-color", "service", "worker", shown=False)
        self.check("service and worker have something to say", len(logs.splitlines()) > 4)
        self.check("no traceback in the logs", "Traceback (most recent call last)" not in logs)
        secret = ("KEY", "SECRET", "PASSWORD")
        leaked = [name for name, value in self.stack.settings.items() if name.endswith(secret) and value in logs]
        self.check("no secret in the logs", not leaked, leaked)

    def status(self, job_id: str) -> str:
        return self.client.fine_tuning.jobs.retrieve(job_id).status


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def wait_until(what: str, holds: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
