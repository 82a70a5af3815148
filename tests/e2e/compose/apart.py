"""Two machines that share Redis and a bucket, and the loss of the one that Redis runs on: profiles s3 and sentinel."""

import os
import secrets
from pathlib import Path

from tests.e2e.compose.stack import Stack, docker, new_settings
from tests.e2e.compose.story import DATASET, Story, wait_until

SENTINELS = ("sentinel-1", "sentinel-2", "sentinel-3")
#: Run in a Sentinel's container with a command: the first line of each Sentinel's answer.
ASK_ALL = f"""
for sentinel in {" ".join(SENTINELS)}; do
  REDISCLI_AUTH="$REDIS_SENTINEL_PASSWORD" timeout 5 redis-cli -h $sentinel -p 26379 --user sentinel sentinel "$@" |
    head -n 1
done
"""
FAILOVER_SECONDS = 300.0


def stack(directory: Path) -> Stack:
    """The .env of docs/operating.md for a bucket and a Redis that may die."""
    settings = new_settings()
    password = settings["REDIS_PASSWORD"]
    settings |= {
        "COMPOSE_PROFILES": "simulator,s3,sentinel",
        "REDIS_SENTINEL_PASSWORD": secrets.token_hex(24),
        "REDIS_URL": f"redis+sentinel://tunehook:{password}@{','.join(SENTINELS)}/tunehook/0"
        "?sentinel_username=tunehook&sentinel_password=${REDIS_PASSWORD}",
        "TUNEHOOK_REPLICAS": "1",
        "TUNEHOOK_STORE_URL": "s3://tunehook",
        "AWS_ENDPOINT_URL": "http://s3:5000",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
        "TUNEHOOK_SIMULATOR_SPEED": "24",  # 20 seconds a job: Redis is lost meanwhile
    }
    overlays = ("overlay.yml", "apart.yml")
    return Stack(directory / "apart", settings, f"tunehook-apart-{os.getpid()}", overlays)


class TwoMachines(Story):
    """API and worker share Redis and a bucket alone; Redis' machine is lost with its disk while a job trains."""

    def run(self) -> None:
        self.stack.compose("build")
        self.start()
        self.hardened("redis-2", "sentinel-1", "s3")
        for service in ("service", "worker"):
            (container,) = self.stack.containers(service)
            mounts = [mount["Destination"] for mount in container["Mounts"] if mount["Type"] == "volume"]
            self.check(f"{service} has no volume", not mounts, mounts)
            kept = self.stack.settings["REDIS_SENTINEL_PASSWORD"] not in str(container["Config"]["Env"])
            self.check(f"{service} does not know the Sentinels' password", kept)
        # On a machine that is overloaded, Sentinels wait more than 2 s for a turn, and take that for a broken clock.
        patient = self.ask("debug", "tilt-trigger", "60000")
        self.check("three Sentinels are patient", patient == ["OK"] * 3, patient)
        self.check("redis is the primary", self.primary() == "redis", self.primary())
        first = self.a_job_through_the_loss_of("redis", at_once=True)
        self.a_job_through_the_loss_of(self.primary(), at_once=False)
        again = self.client.fine_tuning.jobs.retrieve(first)
        self.check("the first job is there after both losses:", again.status == "succeeded", again.status)
        self.the_bucket(first)
        self.check("two jobs here are two jobs upstream", self.upstream_jobs() == 2, self.upstream_jobs())
        self.the_logs()

    def a_job_through_the_loss_of(self, server: str, *, at_once: bool) -> str:
        """Removes the primary and its disk while a job runs. An empty server takes its place at once, or after the end.

        At once, it must not be taken for the primary. Later, its name is unknown while a replica is promoted.
        """
        job_id = self.start_job(server)
        wait_until("the job to run", lambda: self.status(job_id) == "running", FAILOVER_SECONDS)
        (container,) = self.stack.containers(server)
        docker("rm", "--force", container["Id"])
        docker("volume", "rm", f"{self.stack.project}_{server}")
        if at_once:
            self.stack.compose("up", "--detach", "--no-deps", server)
        wait_until("a replica to be promoted", lambda: self.primary() not in {server, ""}, FAILOVER_SECONDS)
        self.check(f"{server} was lost with its disk, and another took over:", True, self.primary())
        self.finish_job(server, job_id)
        self.stack.compose("up", "--detach", "--no-deps", server)
        wait_until(f"{server} to have a copy", lambda: self.health(server) == "healthy", FAILOVER_SECONDS)
        said = self.stack.compose("logs", "--no-log-prefix", server, shown=False)
        role = f"This server is a replica of {self.primary()}."
        self.check(f"{server} came back:", role in said, role)
        return job_id

    def primary(self) -> str:
        """Returns the server that two Sentinels name, or nothing."""
        told = self.ask("get-master-addr-by-name", "tunehook")
        return next((name for name in told if told.count(name) > 1), "")

    def ask(self, *words: str) -> list[str]:
        """Returns what each Sentinel that is up answers."""
        shell = ("sh", "-c", ASK_ALL, "sh")
        return self.stack.compose("exec", "--no-TTY", "sentinel-1", *shell, *words, shown=False).split()

    def health(self, service: str) -> str:
        (container,) = self.stack.containers(service)
        return str(container["State"]["Health"]["Status"])

    def the_bucket(self, job_id: str) -> None:
        """What one machine wrote, the other reads: the dataset (API to worker) and the results (worker to API)."""
        job = self.client.fine_tuning.jobs.retrieve(job_id)
        self.check("the dataset is in the bucket", self.client.files.content(job.training_file).read() == DATASET)
        results = [self.client.files.content(file).read() for file in job.result_files]
        self.check("so are the results", bool(results) and all(results), job.result_files)
        for service in ("service", "worker"):
            kept = self.stack.compose("exec", "--no-TTY", service, "find", "/data", "-type", "f", shown=False).split()
            self.check(f"{service} keeps no file of its own", not kept, kept)
