"""`tunehook listen` and `tunehook trigger` against a running API: what reaches the laptop's server, and the log."""

import asyncio
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from openai import OpenAI

from cli.main import main
from tests.fakes.ports import free_port
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.serving import serving
from tests.integration.webhooks.conftest import Office

SUCCEEDED, FAILED = "fine_tuning.job.succeeded", "fine_tuning.job.failed"
COMMAND = [sys.executable, "-u", "-c", "import sys; from cli.main import main; sys.exit(main())"]


@dataclass
class Listening:
    """The command in a process. `text`: what it has printed on both."""

    process: asyncio.subprocess.Process
    text: str = ""

    async def says(self, words: str) -> str:
        assert self.process.stdout
        async with asyncio.timeout(60):
            while words not in self.text:
                line = await self.process.stdout.readline()
                assert line, f"it ended: {self.text}"
                self.text += line.decode()
        return self.text

    async def ends(self, number: signal.Signals | None = None) -> int:
        if number:
            self.process.send_signal(number)
        async with asyncio.timeout(60):
            rest, _ = await self.process.communicate()
        self.text += rest.decode()
        return self.process.returncode or 0


async def listening(office: Office, url: str, *more: str) -> Listening:
    there = ("--url", str(office.http.base_url), "--key", office.key)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "listen", "--forward-to", url, "--name", "anna", *there, *more,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    return Listening(process)


async def endpoint_id(office: Office) -> str:
    return str((await office.get("/v1/webhook_endpoints"))["data"][0]["id"])


async def until(count: Callable[[], Awaitable[int]], *, is_: int) -> int:
    async with asyncio.timeout(60):
        while (found := await count()) != is_:  # noqa: ASYNC110  (it is in Redis)
            await asyncio.sleep(0.05)
    return found


@pytest.mark.processes
async def test_killed_in_the_middle_it_loses_none_and_repeats_none_that_it_reported(
    office: Office, receiver: Receiver
) -> None:
    first = await listening(office, receiver.url)
    text = await first.says("to fine_tuning")
    found = re.search(r"secret (whsec_\S+) \(shown this once", text)
    assert found
    for _ in range(200):
        await office.happen()
    await receiver.wait(60)
    await first.ends(signal.SIGKILL)
    here = await endpoint_id(office)
    rows = [row async for row in _all(office, here)]
    reported = {row["event_id"] for row in rows if row["state"] == "delivered"}
    assert 0 < len(reported) < 200
    redis, queue = office.ctx.store.redis, f"th:pull:{here}"
    await redis.zadd(queue, dict.fromkeys(await redis.zrange(queue, 0, -1), 0), xx=True)  # the leases end
    second = await listening(office, receiver.url)
    text = await second.says("to fine_tuning")
    assert "came while you were away" in text
    assert found[1] not in text
    assert await until(lambda: redis.zcard(queue), is_=0) == 0
    assert await second.ends(signal.SIGINT) == 130
    posts = Counter(hook.id for hook in receiver.hooks)
    assert len(posts) == 200
    assert {name for name, count in posts.items() if count > 1}.isdisjoint(reported)
    assert len(receiver.hooks) <= 208, "more than those in hand came twice"
    verifier = OpenAI(api_key="x", webhook_secret=found[1])
    for hook in receiver.hooks:
        verifier.webhooks.unwrap(hook.body, dict(hook.headers))


async def _all(office: Office, here: str) -> AsyncIterator[Any]:
    after = ""
    while True:
        page = await office.get(f"/v1/webhook_endpoints/{here}/deliveries?limit=100{after}")
        for row in page["data"]:
            yield row
        if not page["has_more"]:
            return
        after = f"&after={page['last_id']}"


@pytest.mark.processes
async def test_a_dead_server_gets_it_when_it_listens_and_a_500_is_retried_as_it_says(office: Office) -> None:
    port = free_port()
    command = await listening(office, f"http://127.0.0.1:{port}/hooks?a=1", "--once", "2", "--header", "x-me: anna")
    await command.says("to fine_tuning")
    await office.happen()
    here = await endpoint_id(office)
    await command.says("nothing listens on port")
    assert f"port {port}" in command.text
    assert "sent again when it does" in command.text
    await office.make_due(here)
    asked: list[str] = []
    answers = [500, 200, 200]

    async def take(request: web.Request) -> web.Response:
        asked.append(f"{request.query_string} {request.headers['x-me']}")
        return web.Response(status=answers[len(asked) - 1], text="from the laptop")

    app = web.Application()
    app.router.add_post("/hooks", take)
    async with serving(app, port):
        await command.says("→ 500")
        assert re.search(r"→ 500 .*; sent again at \d\d:\d\d:\d\d, as attempt \d", command.text)
        redis, queue = office.ctx.store.redis, f"th:pull:{here}"
        await redis.zadd(queue, dict.fromkeys(await redis.zrange(queue, 0, -1), 0), xx=True)  # the pause ends
        await office.happen()
        assert await command.ends() == 0
    assert asked == ["a=1 anna"] * 3
    for row in await office.deliveries(here):
        shown = await office.get(f"/v1/deliveries/{row['id']}")
        assert shown["attempts"][-1]["response_body"] == "from the laptop"
    assert "Traceback" not in command.text


async def test_listening_for_one_job(office: Office, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    there = ("--forward-to", receiver.url, "--url", str(office.http.base_url), "--key", office.key, "--timeout", "60")
    assert await told("listen", "--job", "ftjob-none", *there) == 1
    await office.subscribe("pull:anna", SUCCEEDED)
    jobs = [await office.happen() for _ in range(3)]
    assert await told("listen", "--name", "anna", "--job", jobs[1].id, "--once", "1", *there) == 0
    assert [hook.event["data"]["id"] for hook in receiver.hooks] == [jobs[1].id]
    assert f"of {jobs[1].id}" in capsys.readouterr().err
    assert await office.ctx.store.redis.zcard(f"th:pull:{await endpoint_id(office)}") == 2


async def told(*words: str) -> int:
    return await asyncio.to_thread(main, words)


async def test_triggers_pass_through_a_listener(
    office: Office, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    there = ("--url", str(office.http.base_url), "--key", office.key)
    refused = await told("trigger", SUCCEEDED, *there)
    assert refused == 1
    assert "tunehook listen --events" in capsys.readouterr().err
    listener = asyncio.create_task(
        told("listen", "--forward-to", receiver.url, "--events", "fine_tuning.job.*", "--once", "1", *there)
    )
    redis = office.ctx.store.redis
    await until(lambda: redis.zcard(f"th:endpoints:{office.project}"), is_=1)
    changed = ("--set", "data.suffix=birds", "--set", "data.metadata.team=search")
    assert await told("trigger", "fine_tuning.job.waiting", *changed, *there) == 0
    assert await listener == 0
    event = receiver.hooks[0].event
    assert (event["type"], event["data"]["suffix"]) == ("fine_tuning.job.waiting", "birds")
    assert event["data"]["metadata"] == {"test": "true", "team": "search"}
    assert "→ 204" in capsys.readouterr().out


async def test_a_trigger_straight_to_a_server_needs_nothing_running(
    receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    receiver.answers[:] = [200, 500]
    words = ("trigger", FAILED, "--forward-to", receiver.url)
    assert await told(*words, "--set", "data.error.message=No.", "--set", "data.trained_tokens=7") == 0
    signed = re.search(r"signed with (whsec_\S+)", capsys.readouterr().err)
    assert signed
    verifier = OpenAI(api_key="x", webhook_secret=signed[1])
    event = verifier.webhooks.unwrap(receiver.hooks[0].body, dict(receiver.hooks[0].headers))
    assert event.type == FAILED
    assert receiver.hooks[0].event["data"]["error"]["message"] == "No."
    assert receiver.hooks[0].event["data"]["trained_tokens"] == 7
    assert await told(*words, "--secret", signed[1]) == 1
    verifier.webhooks.unwrap(receiver.hooks[1].body, dict(receiver.hooks[1].headers))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trigger", "fine_tuning.job.succeded"), "Did you mean"),
        (("trigger", FAILED, "--set", "data.status"), "--set data.status=failed"),
        (("trigger", FAILED, "--secret", "x"), "--forward-to"),
        (("trigger", FAILED, "--forward-to", "http://localhost:1/", "--set", "data.no.status=x"), "--set"),
        (("trigger", FAILED, "--forward-to", "localhost:3000"), "a whole URL"),
        (
            ("listen", "--forward-to", "http://localhost:1/", "--header", "x", "--url", "http://127.0.0.1:1"),
            "NAME:VALUE",
        ),
        (("listen", "--forward-to", "http://localhost:1/", "--since", "x", "--url", "http://127.0.0.1:1"), "30m"),
    ],
)
def test_a_wrong_option_says_what_to_write(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ("--key", "th_aaaaaaaaaaaa_" + "a" * 43) if words[0] == "listen" else ()
    assert main([*words, *key]) in (1, 2)
    assert said in capsys.readouterr().err


async def test_a_listener_that_does_not_get_enough_in_time_says_so(
    office: Office, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_receiver() as receiver:
        there = ("--url", str(office.http.base_url), "--key", office.key)
        assert await told("listen", "--forward-to", receiver.url, "--once", "2", "--timeout", "1", *there) == 3
    assert "0 of 2 webhooks came within 1 s" in capsys.readouterr().err
