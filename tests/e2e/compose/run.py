"""`make compose-test`: builds the images, starts the stack as its users do, and puts it to work.

    python -m tests.e2e.compose.run [OneMachine] [TwoMachines]

Needs a Docker engine and Compose v2 that answer. Leaves nothing behind but the images.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

from openai import OpenAI

from tests.e2e.compose.apart import TwoMachines
from tests.e2e.compose.apart import stack as two_machines
from tests.e2e.compose.stack import OUR_CONTAINERS, ROOT, Stack, docker
from tests.e2e.compose.story import DATASET, JOB_SECONDS, Story, say, wait_until

BASE_IMAGE = "python:3.13-slim"
WITHOUT_BYTECODE = """
import importlib.util as u, pathlib, sysconfig
sources = [*pathlib.Path(sysconfig.get_path("purelib")).rglob("*.py")]
print(len(sources), sum(not pathlib.Path(u.cache_from_source(str(s))).exists() for s in sources))
"""
COMPILERS = "for name in cc gcc g++ clang tcc rustc go make ld as; do command -v $name; done; true"


class OneMachine(Story):
    """The stack as the README starts it."""

    def run(self) -> None:
        self.stack.compose("build")
        self.the_image()
        self.start()
        self.the_containers()
        self.the_main_job()
        self.the_metrics()
        self.a_job_through_restarts()
        self.four_workers()
        self.the_logs()
        self.a_backup_in_another_project()

    def the_image(self) -> None:
        size = image_size("tunehook") - image_size(BASE_IMAGE)
        self.check("the image is under 250 MB beyond its base:", size < 250e6, f"{size / 1e6:.0f} MB")
        found = in_image("sh", "-c", COMPILERS)
        self.check("no compiler in the image", not found, found)
        sources, bare = map(int, in_image("python", "-c", WITHOUT_BYTECODE).split())
        self.check("all bytecode is compiled", sources > 500 and bare == 0, f"({bare} of {sources} are not)")

    def the_containers(self) -> None:
        self.hardened(*OUR_CONTAINERS)
        (redis,) = self.stack.containers("redis")
        networks = [*redis["NetworkSettings"]["Networks"]]
        internal = [json.loads(docker("network", "inspect", name))[0]["Internal"] for name in networks]
        published = [*filter(None, redis["NetworkSettings"]["Ports"].values())]
        self.check("redis is on an internal network alone", internal == [True], networks)
        self.check("redis is not published", not published, published)
        address = self.stack.address("service", 8080)
        self.check("the API is published on this machine only:", address.startswith("127.0.0.1:"), address)

    def the_main_job(self) -> None:
        model = self.finish_job("main", self.start_job("main"))
        answer = self.client.chat.completions.create(model=model, messages=[{"role": "user", "content": "41 + 1?"}])
        self.check("the tuned model answers:", bool(answer.choices[0].message.content), model)

    def the_metrics(self) -> None:
        with urllib.request.urlopen(f"http://{self.stack.address('service', 8080)}/metrics") as answer:
            figures = [line.split() for line in answer.read().decode().splitlines() if not line.startswith("#")]
        told = {name: float(value) for name, value in figures}
        for name in ('tunehook_jobs{stage="settled"}', 'tunehook_delivery_attempts_total{outcome="delivered"}'):
            self.check(f"{name} is 1", told.get(name) == 1, told)
        names = {name.partition("{")[0] for name in told}
        page = (ROOT / "docs" / "operating.md").read_text().split("## What to alarm on")[1].split("\n## ")[0]
        alarms = set(re.findall(r"tunehook_\w+", page))
        unborn = {"tunehook_extras_cancelled_total"}  # a counter appears with the first that it counts
        self.check("what docs/operating.md alarms on exists", unborn < alarms <= names | unborn, alarms - names)

    def a_job_through_restarts(self) -> None:
        job_id = self.start_job("restarted")
        self.stack.compose("restart", "worker")
        wait_until("the job to run", lambda: self.status(job_id) not in {"validating_files", "queued"}, JOB_SECONDS)
        self.check("it runs while redis is restarted", self.status(job_id) == "running", self.status(job_id))
        self.stack.compose("restart", "redis")
        replay = [line for line in self.stack.compose("logs", "redis", shown=False).splitlines() if "NOPERM" in line]
        self.check("redis read back all that it wrote", not replay, replay[:1])
        self.finish_job("restarted", job_id)
        self.check("two jobs here are two jobs upstream", self.upstream_jobs() == 2, self.upstream_jobs())

    def four_workers(self) -> None:
        self.stack.compose("up", "--detach", "--no-recreate", "--scale", "worker=4", "--wait", "--wait-timeout", "300")
        health = [worker["State"]["Health"]["Status"] for worker in self.stack.containers("worker")]
        self.check("four workers are healthy", health == ["healthy"] * 4, health)
        jobs = {name: self.start_job(name) for name in ("first", "second", "third")}
        for name, job_id in jobs.items():
            self.finish_job(name, job_id)
        self.check("five jobs here are five jobs upstream", self.upstream_jobs() == 5, self.upstream_jobs())

    def a_backup_in_another_project(self) -> None:
        """Backs up while everything runs, removes the stack with its volumes, and restores under another name."""
        [file] = [file for file in self.client.files.list() if file.filename == "main.jsonl"]
        [job] = [job for job in self.client.fine_tuning.jobs.list() if job.training_file == file.id]
        archive = self.stack.directory / "backup.tunehook"
        with archive.open("wb") as sink:
            self.stack.run_in("service", "tunehook", "backup", "-", output=sink)
        self.stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "40")
        self.stack.project += "-again"
        with archive.open("rb") as source:
            self.stack.run_in("service", "tunehook", "restore", "-", source=source)
        self.stack.compose("up", "--detach", "--wait", "--wait-timeout", "300")
        again = OpenAI(
            base_url=f"http://{self.stack.address('service', 8080)}/v1",
            api_key=self.stack.settings["TUNEHOOK_BOOTSTRAP_KEY"],
        )
        found = again.fine_tuning.jobs.retrieve(job.id)
        self.check("the restored job is as it was:", found.fine_tuned_model == job.fine_tuned_model, found.status)
        content = again.files.content(file.id).read()
        self.check("the restored dataset is the same", content == DATASET)


def image_size(image: str) -> int:
    """Bytes. A build may have fetched its base without naming it here, so it is fetched by name if missing."""
    if not docker("image", "ls", "--quiet", image).strip():
        docker("pull", "--quiet", image)
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def in_image(*command: str) -> str:
    return docker("run", "--rm", "--network", "none", "tunehook", *command).strip()


def told(story: Story) -> bool:
    """Runs a story, says why it failed if it did, and leaves nothing of its stack. Returns whether it held."""
    stack = story.stack
    say(f"{type(story).__name__}: {(type(story).__doc__ or '').strip()}")
    try:
        story.run()
    except (Exception, KeyboardInterrupt):
        traceback.print_exc()
        subprocess.run(["docker", "ps", "--all", "--filter", f"name={stack.project}"], check=False)
        say(stack.compose("logs", "--no-color", "--tail", "60", shown=False))
        return False
    finally:
        stack.compose("down", "--volumes", "--remove-orphans", "--timeout", "20")
    return True


def main(names: list[str]) -> int:
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="tunehook-compose-") as directory:
        stories: list[Story] = [OneMachine(Stack(Path(directory))), TwoMachines(two_machines(Path(directory)))]
        for story in stories:
            if not names or type(story).__name__ in names:
                story.began = time.monotonic()
                failed += not told(story)
                passed += story.passed
    say(f"compose-test: {passed} passed, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
