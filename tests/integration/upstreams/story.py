"""What the tests of vendors' adapters share: a job's spec, a file to send, and the story with another upstream."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tests.fakes.datasets import dataset
from tests.integration.conftest import MODEL, Bench
from tunehook.model.job import JobSpec
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.protocol import Upstream

TAG = "tunehook/ftjob-0123456789abcdefghijklmn"
FILE = "file-0123456789abcdefghijklmn.0123456789abcdef.jsonl"
CONTENT = dataset()


def settings(url: str, key: str) -> UpstreamSettings:
    return UpstreamSettings(base_url=url, api_key=SecretStr(key))


def spec(model: str = MODEL, **members: Any) -> JobSpec:
    return JobSpec.model_validate({"model": model, "training_file": "file-ours", "seed": 7} | members)


def with_upstream(bench: Bench, upstream: Upstream) -> Bench:
    """The bench with this upstream instead of the simulated one."""
    return Bench(replace(bench.ctx, upstreams={"openai": upstream}), bench.simulator)


def file_at(folder: Path, content: bytes = CONTENT) -> Path:
    path = folder / "train.jsonl"
    path.write_bytes(content)
    return path


async def ignored(sent: int) -> None:
    """Progress that no test looks at."""
