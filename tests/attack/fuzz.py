"""Random requests against a running Tunehook, made by schemathesis from the contract."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp

from tests.contract.checker import SPEC, Contract
from tests.fakes.deployment import ROOT, Deployment
from tunehook import api_keys
from tunehook.model.api_key import Scope
from tunehook.security.encryption import Encryption
from tunehook.settings import Settings
from tunehook.store.store import Store

#: Judged: what the contract does not have is a fault. Left out: checks that guess which input must be refused.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,contract,secrets"
)
DATASET = b"".join(
    json.dumps(
        {"messages": [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"It is {n}."}]}
    ).encode()
    + b"\n"
    for n in range(12)
)


@dataclass(frozen=True)
class Place:
    """What the hooks know of the deployment."""

    key: str
    admin_key: str
    other_keys: list[str]
    ids: Mapping[str, list[str]]
    secrets: Mapping[str, str]
    seed: int


@dataclass(frozen=True)
class Fuzzed:
    statuses: Mapping[str, int]
    seconds: float
    passed: bool
    output: str

    @property
    def cases(self) -> int:
        return sum(self.statuses.values())


async def furnish(town: Deployment, secrets: Mapping[str, str], seed: int) -> Place:
    """Makes two projects with one of each thing, and an admin key."""
    attacker, other = await town.key("attack"), await town.key("elsewhere")
    ids: dict[str, list[str]] = {"name": ["openai"], "project": ["elsewhere"], "model": ["gpt-4.1-mini-2025-04-14"]}
    for caller in (attacker, other):
        for name, one in (await _things(town, caller.key)).items():
            ids.setdefault(name, []).append(one)
    keys = {"callback secret": attacker.callback_secret, "another project's key": other.key}
    return Place(
        attacker.key, await _admin_key(town), [other.key], ids, {**secrets, **keys, "its key": attacker.key}, seed
    )


async def _things(town: Deployment, key: str) -> dict[str, str]:
    data = aiohttp.FormData()
    data.add_field("purpose", "fine-tune")
    data.add_field("file", DATASET, filename="train.jsonl")
    upload = {"filename": "a.jsonl", "bytes": 10, "purpose": "fine-tune", "mime_type": "text/jsonl"}
    endpoint = {"url": "http://127.0.0.1:9/hook", "name": "attack", "event_types": ["fine_tuning.job.succeeded"]}
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:

        async def made(path: str, **body: object) -> str:
            async with session.post(town.url + path, **body) as answer:  # type: ignore[arg-type]
                assert answer.status == 200, await answer.text()
                return str((await answer.json())["id"])

        file_id = await made("/files", data=data)
        job = {"model": "gpt-4.1-mini-2025-04-14", "training_file": file_id}
        return {
            "file_id": file_id,
            "fine_tuning_job_id": await made("/fine_tuning/jobs", json=job),
            "upload_id": await made("/uploads", json=upload),
            "webhook_endpoint_id": await made("/webhook_endpoints", json=endpoint),
        }


async def _admin_key(town: Deployment) -> str:
    store = Store.connect(town.valkey.url)
    try:
        encryption = Encryption(
            Settings.model_validate({"secret_key": town.settings["TUNEHOOK_SECRET_KEY"]}).secret_key
        )
        key, _ = await api_keys.create(store, encryption, project="", name="attack", scopes=(Scope.ADMIN,))
    finally:
        await store.close()
    return key


def fuzz(town: Deployment, place: Place, directory: Path, *, cases: int, processes: int = 2) -> Fuzzed:
    """Sends about `cases` requests, spread evenly over the operations. Each process has a seed of its own."""
    each = max(1, round(cases / processes / len(Contract.load().operations())))
    begun = time.monotonic()
    running = [_started(town, place, directory, number, each) for number in range(processes)]
    outputs = [process.communicate()[0] for process, _ in running]
    counted: Counter[str] = Counter()
    for _, tally in running:
        counted.update(json.loads(tally.read_text("utf-8")) if tally.exists() else {})
    failed = [text for (process, _), text in zip(running, outputs, strict=True) if process.returncode]
    return Fuzzed(counted, time.monotonic() - begun, not failed, "\n".join(failed))


def _started(
    town: Deployment, place: Place, directory: Path, number: int, each: int
) -> tuple[subprocess.Popen[str], Path]:
    """Starts one schemathesis; returns it and the file where it leaves its count of statuses."""
    described, tally, seed = directory / f"place-{number}.json", directory / f"tally-{number}.json", place.seed + number
    described.write_text(json.dumps({**asdict(place), "tally": str(tally), "seed": seed}), "utf-8")
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(SPEC), "--url", town.url.removesuffix("/v1"),
        "--phases", "examples,coverage,fuzzing" if number == 0 else "fuzzing", "--max-examples", str(each),
        "--seed", str(seed), "--checks", CHECKS, "--continue-on-failure", "--request-timeout", "120",
        "--generation-database", "none", "--suppress-health-check", "all", "--no-shrink", "--no-color",
        "--warnings", "off",
        "--exclude-path", "/v1/events",  # has no end
    ]  # fmt: skip
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.attack.hooks", "ATTACK_PLACE": str(described)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process, tally
