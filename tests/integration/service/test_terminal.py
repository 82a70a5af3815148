"""Commands of the terminal against the service: what they print in a pipe, and how they end."""

import asyncio
import json
import os
import pty
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from cli.service_client import ServiceClient
from cli.upload import upload
from tests.integration.service.conftest import DATASET, Api
from tests.unit.cli.test_terminal import offers
from tunehook import api_keys
from tunehook.jobs import copy_step, lifecycle, poller
from tunehook.model.job import Stage

GPT = "gpt-4.1-mini-2025-04-14"
SWEEP = ("--model", GPT, "--epochs", "2,3", "--learning-rate-multiplier", "0.5,1", "--sweep", "rates", "--yes")


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal:
    def __init__(self, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
        self.api, self._capsys = api, capsys

    def said(self) -> str:
        return self._capsys.readouterr().err

    async def __call__(self, *words: str, key: str = "") -> Done:
        """Runs a command in a thread of its own, as its process would."""
        where = ["--url", self.api.root, "--key", key or self.api.key]
        status = await asyncio.to_thread(main, [*words, *where])
        out, err = self._capsys.readouterr()
        return Done(status, out, err)


@pytest.fixture
def terminal(api: Api, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("train.jsonl").write_bytes(DATASET)
    return Terminal(api, capsys)


async def written(name: str, content: bytes) -> None:
    await asyncio.to_thread(Path(name).write_bytes, content)


async def tracked(api: Api, job_id: str) -> None:
    """As scheduler and workers would, until the upstream has the job."""
    for _ in range(6):
        await lifecycle.advance(api.ctx, job_id)
        job = (await api.ctx.store.jobs.read(job_id)).job
        if job.stage is Stage.TRACKED:
            return
        for file in job.files:
            await copy_step.copy_to_upstream(api.ctx, "openai", file.sha256)
    raise AssertionError(job)


async def trained(api: Api, job_id: str) -> None:
    await tracked(api, job_id)
    await api.simulator.advance(3600)
    await poller.poll(api.ctx, "openai")
    await lifecycle.advance(api.ctx, job_id)


async def test_a_job_from_the_file_to_the_answer(terminal: Terminal) -> None:
    made = await terminal("submit", "train.jsonl", "--model", GPT, "--name", "birds", "--meta", "team=search", "--yes")
    assert made.status == 0, made.err
    assert "train.jsonl: chat, 12 examples, no errors" in made.err
    assert re.search(r"^1 job for about \$0\.0\d$", made.err, re.MULTILINE)
    [[job_id, status, *_]] = made.rows
    assert status == "validating_files"
    watching = asyncio.create_task(terminal("watch", job_id, "--timeout", "120"))
    await trained(terminal.api, job_id)
    watched = await watching
    assert (watched.status, watched.rows[0][:2]) == (0, [job_id, "succeeded"]), watched.err
    assert f"{job_id}  succeeded  100%" in watched.err
    shown = dict((await terminal("jobs", "show", job_id)).rows)
    assert (shown["status"], shown["metadata"]) == ("succeeded", "team=search")
    model = shown["tuned model"]
    assert ":birds:" in model
    assert (await terminal("jobs", "show", job_id, "--json")).json["fine_tuned_model"] == model
    assert (await terminal("chat", job_id, "What is 3?")).out.strip() == "It is 3."
    events = (await terminal("jobs", "events", job_id, "--jsonl")).out.splitlines()
    assert json.loads(events[0])["message"] == f"Accepted fine-tuning job: {job_id}"
    metrics = (await terminal("jobs", "metrics", job_id, "--json")).json
    csv = (await terminal("jobs", "metrics", job_id, "--csv")).out.splitlines()
    assert (len(csv), csv[0].startswith("step,train_loss")) == (len(metrics["columns"]["step"]) + 1, True)
    [compared] = (await terminal("jobs", "compare", job_id, "--json")).json
    assert compared["final_train_loss"] == metrics["columns"]["train_loss"][-1]
    assert len((await terminal("jobs", "checkpoints", job_id, "-q")).rows) == 3
    late = await terminal("jobs", "cancel", job_id)
    assert (late.status, "only a job that has not ended" in late.err) == (1, True)


async def test_followed_events_end_with_the_job(terminal: Terminal) -> None:
    job_id = (await terminal("submit", "train.jsonl", "--model", GPT, "--yes", "-q")).out.strip()
    following = asyncio.create_task(terminal("jobs", "events", job_id, "--follow"))
    await terminal.api.post(f"/v1/fine_tuning/jobs/{job_id}/cancel", {})
    followed = await following
    assert followed.status == 0, followed.err
    assert f"Accepted fine-tuning job: {job_id}" in followed.out


async def test_a_sweep_run_again_makes_what_is_missing_and_nothing_twice(terminal: Terminal) -> None:
    shown = await terminal("submit", "train.jsonl", *SWEEP, "--dry-run")
    assert (shown.status, shown.out, "4 jobs for about $" in shown.err) == (0, "", True)
    files = (await terminal("files", "-q")).rows
    assert files == []  # nothing was made of it
    first = await terminal("submit", "train.jsonl", *SWEEP, "-q")
    again = await terminal("submit", "train.jsonl", *SWEEP, "-q")
    assert (first.status, again.status, len(first.rows)) == (0, 0, 4), again.err
    assert again.out == first.out
    assert again.err.count("made before") == 4
    more = await terminal("submit", "train.jsonl", "--model", GPT, "--epochs", "2,4", *SWEEP[4:], "-q")
    assert more.out.splitlines()[:2] == first.out.splitlines()[:2]
    jobs = (await terminal("jobs", "list", "--meta", "sweep=rates", "--json")).json
    assert len(jobs) == 6
    assert len({job["training_file"] for job in jobs}) == 1
    assert jobs[-1]["metadata"] == {"sweep": "rates", "sweep_run": "n_epochs=2 learning_rate_multiplier=0.5"}
    assert len((await terminal("files", "-q")).rows) == 1
    compared = await terminal("jobs", "compare", "--sweep", "rates")
    assert sorted(row[2] for row in compared.rows)[0] == "n_epochs=2 learning_rate_multiplier=0.5"
    await written("train.jsonl", DATASET.replace(b"It is", b"It's"))
    another = await terminal("submit", "train.jsonl", *SWEEP)
    assert (another.status, "which is another file. Choose another name." in another.err) == (2, True)


async def test_an_interrupted_sweep_is_finished(terminal: Terminal) -> None:
    """Its last create was sent, and the answer lost: the key finds the job, though the list was read before."""
    await terminal("submit", "train.jsonl", *SWEEP[:2], "--epochs", "2", *SWEEP[4:])
    both = await asyncio.gather(*(terminal("submit", "train.jsonl", *SWEEP, "-q") for _ in range(3)))
    assert [done.status for done in both] == [0, 0, 0]
    assert len((await terminal("jobs", "list", "--meta", "sweep=rates", "-q")).rows) == 4


async def test_a_bad_file_is_told_before_it_is_uploaded(terminal: Terminal) -> None:
    await written("bad.jsonl", DATASET + b"{\n")
    refused = await terminal("submit", "bad.jsonl", "--model", GPT, "--yes")
    assert refused.status == 1
    assert "line 13" in refused.err
    assert "bad.jsonl has errors, and nothing was uploaded." in refused.err
    assert (await terminal("submit", "none.jsonl", "--model", GPT, "--yes")).status == 2
    unknown = await terminal("submit", "train.jsonl", "--model", "gpt-4.1-minni", "--yes")
    assert (unknown.status, unknown.out) == (1, "")
    assert (await terminal("files", "-q")).out == ""  # what was uploaded for the estimate is deleted


async def test_an_estimate_leaves_no_file(terminal: Terminal) -> None:
    found = await terminal("estimate", "train.jsonl", "--model", GPT, "--epochs", "2,3", "--json")
    assert [one["n_epochs"] for one in found.json] == [2, 3]
    assert (await terminal("files", "--json")).json == []


async def test_lists_are_narrowed(terminal: Terminal) -> None:
    await terminal("submit", "train.jsonl", *SWEEP)
    other = (await terminal("submit", "train.jsonl", "--model", "gpt-4.1-nano", "--yes", "-q")).out
    await terminal("jobs", "cancel", other.strip())
    for words in (("--status", "cancelled"), ("--stage", "settled"), ("--model", "gpt-4.1-nano"), ("--q", "NANO")):
        assert (await terminal("jobs", "list", *words, "-q")).out == other, words
    assert len((await terminal("jobs", "list", "--q", "n_epochs=3", "--since", "1h", "-q")).rows) == 2
    assert len((await terminal("jobs", "--upstream", "openai", "--before", "2030-01-01", "-q")).rows) == 5
    for words in (("--before", "1h"), ("--meta", "sweep=other"), ("--status", "running")):
        none = await terminal("jobs", "list", *words, "--json")
        assert (none.status, none.json, none.err) == (0, [], "No job matches.\n"), words
    few = await terminal("jobs", "list", "--limit", "2", "-q")
    assert (few.out.splitlines()[0], len(few.rows), "--limit 0 lists all" in few.err) == (other.strip(), 2, True)
    assert len((await terminal("jobs", "list", "--limit", "0", "-q")).rows) == 5


async def test_one_that_is_refused_does_not_keep_the_others(terminal: Terminal) -> None:
    jobs = (await terminal("submit", "train.jsonl", *SWEEP, "-q")).out.split()
    done = await terminal("jobs", "cancel", jobs[0], "ftjob-none", *jobs[1:], "-q")
    assert (done.status, done.out.split()) == (1, jobs)
    assert done.err == "tunehook: ftjob-none: Could not find fine tune: ftjob-none\n"


@pytest.mark.parametrize(("typed", "made"), [("\x04", 0), ("Y\n", 2)])
async def test_it_trains_only_after_a_yes(
    terminal: Terminal, typed: str, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, its = pty.openpty()
    os.write(ours, typed.encode())
    with os.fdopen(its) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        done = await terminal("submit", "train.jsonl", "--model", GPT, "--epochs", "2,3", "-q")
    os.close(ours)
    assert "Start 2 jobs? [y/N] " in done.err
    assert (done.status, len(done.rows)) == (0 if made else 1, made)
    assert len((await terminal("jobs", "-q")).rows) == made
    assert len((await terminal("files", "-q")).rows) == (1 if made else 0)


async def test_on_a_terminal_jobs_are_drawn(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"COLUMNS": "120", "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    job_id = (await terminal("submit", "train.jsonl", "--model", GPT, "--yes", "-q")).out.strip()
    await trained(terminal.api, job_id)  # before it is watched: the end may be told before the last steps are read
    drawn = await terminal("watch", job_id)
    assert re.search(rf"✓ succeeded  {job_id}  █{{20}}  100% +loss 0\.\d+ [▁-█]+", drawn.err), drawn.err
    assert "STATUS" in drawn.out


async def test_a_watch_that_is_over_says_that_the_job_runs(terminal: Terminal) -> None:
    job_id = (await terminal("submit", "train.jsonl", "--model", GPT, "--yes", "-q")).out.strip()
    over = await terminal("watch", job_id, "--timeout", "0")
    assert (over.status, "not all have ended" in over.err) == (3, True)
    await terminal("jobs", "cancel", job_id)
    lines = await terminal("watch", job_id, "--jsonl")
    assert (lines.status, lines.json["status"]) == (1, "cancelled")


async def test_endpoints_and_deliveries(terminal: Terminal) -> None:
    made = await terminal(
        "endpoints", "create", "https://example.com/h", "--name", "e", "--event", "fine_tuning.job.created"
    )
    facts = dict(made.rows)
    assert facts["secret"].startswith("whsec_")
    assert (await terminal("endpoints", "-q")).out.strip() == facts["endpoint"]
    job_id = (await terminal("submit", "train.jsonl", "--model", GPT, "--yes", "-q")).out.strip()
    [row] = (await terminal("deliveries")).rows
    assert row[1:5] == ["pending", "fine_tuning.job.created", "", job_id]
    assert (await terminal("deliveries", "--job", job_id, "-q")).out.strip() == row[0]
    assert (await terminal("deliveries", "--job", job_id, "--state", "failed")).out == ""
    assert (await terminal("deliveries", "--endpoint", facts["endpoint"], "--since", "2h", "-q")).out.strip() == row[0]
    assert dict((await terminal("deliveries", "show", row[0])).rows)["job"] == job_id
    assert (await terminal("endpoints", "delete", facts["endpoint"], "--yes")).status == 0
    assert (await terminal("endpoints")).out == ""


async def test_a_large_file_is_uploaded_in_parts(terminal: Terminal) -> None:
    content = DATASET * 50
    await written("large.jsonl", content)
    with ServiceClient(terminal.api.root, terminal.api.key) as client:
        found = await asyncio.to_thread(upload, client, Path("large.jsonl"), part=len(content) // 3)
    assert "4/4" in terminal.said()
    assert (found["bytes"], found["filename"]) == (len(content), "large.jsonl")
    assert (await terminal("files", "download", found["id"], "--output", "back.jsonl")).status == 0
    assert await asyncio.to_thread(Path("back.jsonl").read_bytes) == content


async def test_another_projects_key_sees_and_does_nothing(terminal: Terminal) -> None:

    ctx = terminal.api.ctx
    key, _ = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="other", name="")
    job_id = (await terminal("submit", "train.jsonl", *SWEEP, "-q")).rows[0][0]
    assert (await terminal("jobs", "--json", key=key)).json == []
    assert (await terminal("jobs", "compare", "--sweep", "rates", "--json", key=key)).json == []
    for words in (("jobs", "show"), ("watch",), ("jobs", "cancel"), ("jobs", "metrics"), ("chat",)):
        assert (await terminal(*words, job_id, key=key)).status in (1, 2)


GROUPS = ("submit", "estimate", "jobs", "watch", "chat", "files", "endpoints", "deliveries")
#: Examples of what is not there: an upstream's job, a finished model, a job that can be paused, a receiver.
REFUSED = ("jobs import", "jobs pause", "jobs resume", "chat", "endpoints test", "endpoints enable", "endpoints create")


def examples() -> list[str]:
    """The examples in the help of all commands, those that delete at last."""
    ends = [command.help_epilogue or "" for command in offers().values()]
    lines = {
        line.strip().removeprefix("tunehook ") for end in ends for line in end.splitlines() if line.startswith("  ")
    }
    return sorted((line for line in lines if line.split()[0] in GROUPS), key=lambda line: ("delete" in line, line))


async def test_the_examples_in_every_help_can_be_run(terminal: Terminal) -> None:
    made = dict(
        (
            await terminal(
                "endpoints", "create", "https://example.com/h", "--name", "e", "--event", "fine_tuning.job.created"
            )
        ).rows
    )
    jobs = (await terminal("submit", "train.jsonl", *SWEEP, "-q")).out.split()
    deliveries = (await terminal("deliveries", "-q")).out.split()
    files = [(await terminal("files", "upload", "train.jsonl", "-q")).out.strip() for _ in range(3)]
    ids = {"ftjob-Ab12": jobs[0], "ftjob-Cd34": jobs[1], "we_Ab12": made["endpoint"]}
    ids |= {"dlv_Ab12": deliveries[0], "dlv_Cd34": deliveries[1], "file-Ab12": files[0], "file-Cd34": files[1]}
    for job_id in jobs:
        await terminal("jobs", "cancel", job_id)
    for line in examples():
        words = [ids.get(word, word) for word in shlex.split(line)]
        if words == ["files", "delete", files[0], files[1], "--yes"]:
            words[2] = files[2]  # the other example has deleted the first
        if words[:2] == ["endpoints", "delete"] and "--yes" not in words:
            continue  # it asks
        done = await terminal(*words)
        wanted = (0, 1) if line.startswith(REFUSED) or words[0] == "watch" else (0,)
        assert done.status in wanted, (line, done.err)
        assert "Traceback" not in done.err
