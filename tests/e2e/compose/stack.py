"""The compose project of one test run: its name, its settings, and `docker compose` upon it."""

import base64
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[3]
OUR_CONTAINERS = ("service", "worker", "redis", "simulator")


def new_settings() -> dict[str, str]:
    """An .env as a person would fill it in, for a stack that trains on the simulator."""
    return {
        "COMPOSE_PROFILES": "simulator",
        "REDIS_PASSWORD": secrets.token_hex(24),
        "TUNEHOOK_SECRET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "TUNEHOOK_BOOTSTRAP_KEY": f"th_{secrets.token_hex(8)}_{secrets.token_urlsafe(32)}",
        "TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET": "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        "OPENAI_API_KEY": f"sk-{secrets.token_hex(16)}",
        "OPENAI_BASE_URL": "http://simulator:4010/v1",
        "TUNEHOOK_WEBHOOK_ALLOW": "receiver",
        "TUNEHOOK_POLL_SECONDS": "1",
        "TUNEHOOK_SIMULATOR_SPEED": "8",  # a minute a job: a worker may take 30 s to stop, and is restarted meanwhile
        "PUBLISH_PORT": "0",  # any free one
    }


@dataclass
class Stack:
    """`directory` holds the .env; images are shared between runs, all else carries this run's name."""

    directory: Path
    settings: dict[str, str] = field(default_factory=new_settings)
    project: str = f"tunehook-test-{os.getpid()}"
    overlays: tuple[str, ...] = ("overlay.yml",)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        lines = "".join(f"{name}={value}\n" for name, value in self.settings.items())
        (self.directory / ".env").write_text(lines)

    def compose(self, *args: str, shown: bool = True) -> str:
        """What `docker compose ARGS` printed. With `shown`, its progress goes to the terminal as well."""
        done = subprocess.run(
            self._command(*args), cwd=ROOT, env=self._environment(), text=True, check=True,
            stdout=subprocess.PIPE, stderr=None if shown else subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout

    def run_in(
        self, service: str, *command: str, source: IO[bytes] | None = None, output: IO[bytes] | None = None
    ) -> None:
        """Runs a command in a new container of a service, with these files as its input and output."""
        arguments = self._command("run", "--rm", "--no-TTY", service, *command)
        stdin = source or subprocess.DEVNULL
        subprocess.run(arguments, cwd=ROOT, env=self._environment(), stdin=stdin, stdout=output, check=True)

    def _command(self, *args: str) -> list[str]:
        files = ["docker-compose.yml", *(f"tests/e2e/compose/{name}" for name in self.overlays)]
        return [
            "docker", "compose", "--ansi", "never", "--project-name", self.project,
            "--env-file", str(self.directory / ".env"),
            *(word for file in files for word in ("--file", file)), *args,
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        # A setting that this shell happens to have must not win over the .env.
        environment = {k: v for k, v in os.environ.items() if k not in self.settings}
        return environment | {"ENV_FILE": str(self.directory / ".env")}

    def containers(self, service: str) -> list[dict[str, Any]]:
        """`docker inspect` of each container of a service."""
        ids = self.compose("ps", "--quiet", service, shown=False).split()
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def address(self, service: str, port: int) -> str:
        """Where a published port is reached from here, as host:port."""
        return self.compose("port", service, str(port), shown=False).strip()


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], text=True, check=True, stdout=subprocess.PIPE).stdout
