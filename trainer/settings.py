"""What the trainer can be told, as the only reader of its environment (names TUNEHOOK_TRAINER_…, and REDIS_URL)."""

import hmac
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

#: The allow-list that comes with the trainer.
MODELS = Path(__file__).parent / "models.json"
_SECRET = ("KEY", "SECRET", "TOKEN", "PASSWORD", "REDIS_URL")


def _keys(text: str) -> str:
    for key in text.split(","):
        if text and not key.rpartition(":")[2].strip():  # it would let in requests without a key
            raise ValueError("must be keys, or project:key, with commas between them")
    return text


def _words(value: object) -> object:
    return tuple(value.splitlines()) if isinstance(value, str) else value


class Config(BaseModel):
    """One trainer. `slots`: groups of GPUs with semicolons between them, as "0,1;2,3"; "cpu" is one without any.

    A job trains in one slot, by a process for each of its GPUs; "cpu,cpu" are two processes without any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=4020, ge=0, le=65535)
    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Path(".tunehook/trainer")
    redis_url: str = "redis://127.0.0.1:6379/0"
    models: Path = MODELS
    keys: Annotated[str, AfterValidator(_keys)] = ""
    organization: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")] = "local"
    slots: Annotated[str, Field(pattern=r"^(cpu(,cpu)*|\d+(,\d+)*(;\d+(,\d+)*)*)$")] = "cpu"
    ray: str = ""  #: the URL of a Ray cluster's dashboard, which then trains instead of workers here
    ray_token: str = ""
    slot: str = "cpu"  #: of this worker process; the program sets it
    min_free_bytes: int = Field(default=2 * 2**30, ge=0)
    serving_url: str = ""
    serve: Literal["none", "transformers", "vllm"] = "transformers"  #: without it, "none" where there is a serving_url
    serve_while_training: bool = False
    sweep_seconds: float = Field(default=2.0, gt=0, le=3600)
    stop_seconds: float = 60.0  #: from a job's end until its turn is stopped, if its process does not end by itself
    #: The training process; the job's folder is its last argument. One word a line.
    child: Annotated[tuple[str, ...], BeforeValidator(_words), NoDecode] = (sys.executable, "-m", "trainer.tune")

    @model_validator(mode="before")
    @classmethod
    def _served_by_others(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("serving_url"):
            return {"serve": "none", **value}
        return value

    def project_of(self, key: str) -> str | None:
        """Returns the project of an API key; None: it is refused. Without configured keys any is taken."""
        if not self.keys:
            return "default" if key else None
        for pair in self.keys.split(","):
            project, found, secret = pair.strip().rpartition(":")
            if hmac.compare_digest(key.encode(errors="surrogateescape"), secret.encode()):
                return project if found else "default"
        return None


class _Environment(Config, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TUNEHOOK_TRAINER_", extra="ignore", frozen=True, env_ignore_empty=True
    )


def from_environment(**given: object) -> Config:
    """Returns what is given, then the environment, then the defaults. Raises pydantic.ValidationError."""
    found: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    url = os.environ.get("REDIS_URL", "")
    if url:
        found.setdefault("redis_url", url)
    return Config(**_Environment(**found).model_dump())


def environment(**changes: str) -> dict[str, str]:
    """Returns this process' environment with changes, for a process of ours."""
    return {**os.environ, **changes}


def environment_of_child(gpus: str) -> dict[str, str]:
    """Returns the environment of a training process: without secrets, and with its GPUs alone."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name for word in _SECRET)}
    return kept | {"CUDA_VISIBLE_DEVICES": "" if gpus.startswith("cpu") else gpus}
