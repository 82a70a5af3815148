"""The forms of the page: the same call in three languages, webhook endpoints, a dataset made of pasted pairs."""

import ast
import json
import re
import subprocess
from typing import Any

import pytest
from cyclopts import App
from playwright.async_api import Page, expect

from cli.plan import Plan
from tests.page.conftest import Stack
from tests.page.scene import Scene, pairs
from tests.page.views import enter

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY: dict[str, Any] = {
    "model": "gpt-4.1-mini-2025-04-14",
    "training_file": "file-1",
    "method": {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 3, "beta": 0.5}}},
    "suffix": "it's",
    "seed": 7,
    "metadata": {"team": "a b", "c": "d=e"},
    "callback_url": "https://you.example/hooks?a=1&b=$HOME",
    "tunehook": {"upstream": "openai", "max_cost_usd": 1.5},
}
FIELDS = {
    "model": "gpt-4.1-mini-2025-04-14",
    "training": "file-1",
    "method": "dpo",
    "epochs": "3",
    "beta": "0.5",
    "batch": "auto",
    "name": "it's",
    "seed": "7",
    "metadata": "team=a b\nc=d=e\n",
    "callback": BODY["callback_url"],
    "upstream": "openai",
    "limit": "1.5",
}
SWEEP = """(() => {
    const bodies = m.jobBodies({...x, epochs: "2, 3,2", rate: "auto", batch: "4", beta: "0.50,1"}, "birds")
    return [bodies, m.sameCall("http://h/v1", bodies)]
})()"""
RUNS = [f"n_epochs={epochs} batch_size=4 beta={beta}" for epochs in (2, 3) for beta in (0.5, 1)]
LINES = "a\n" + "x" * 70_000 + "\n\nd"
CHUNKS = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "Owl"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"completion_tokens": 1}},
]


async def called(page: Page, module: str, expression: str, given: object) -> Any:
    """Returns an expression of a module of the page, `m`, and of what is given, `x`."""
    script = f"""async (x) => {{
        const main = document.querySelector("script[type=module]").src
        const m = await import(main.replace(/main\\.js$/, "views/parts/{module}.js"))
        return {expression}
    }}"""
    return await page.evaluate(script, given)


async def test_the_same_call_in_three_languages(stack: Stack, scene: Scene) -> None:
    async with stack.window() as window:
        page = await enter(window, scene.project.key, "/datasets")
        assert await called(page, "same_call", "m.jobBody(x)", FIELDS) == BODY
        again = await called(page, "same_call", "m.jobBody({...x, method: '', epochs: '', beta: ''})", FIELDS)
        assert "method" not in again
        calls = await called(page, "same_call", "m.sameCall('http://h/v1', [x], {'file-1': 'my pairs.jsonl'})", BODY)
        sweep, [command_of_it] = await called(page, "same_call", SWEEP, FIELDS)
        many = FIELDS | {"epochs": "1,2,3,4,5", "rate": "1,2,3,4,5"}
        assert await called(page, "same_call", "m.jobBodies(x)", many) == []
    curl, python, command = (one["text"] for one in calls)
    words = arguments(curl)
    assert words[0] == "http://h/v1/fine_tuning/jobs"
    assert json.loads(words[words.index("-d") + 1]) == BODY
    [call] = [node for node in ast.walk(ast.parse(python)) if isinstance(node, ast.Call) and len(node.keywords) > 1]
    given = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    assert given.pop("extra_body") | given == BODY
    assert planned(arguments(command)) == ("my pairs.jsonl", [BODY])
    assert [one["metadata"]["sweep_run"] for one in sweep] == RUNS
    assert planned(arguments(command_of_it["text"])) == ("file-1", sweep)


def arguments(text: str) -> list[str]:
    """Returns what a shell gives to curl or tunehook."""
    script = 'curl() { printf "%s\\0" "$@"; }; tunehook() { curl "$@"; }; ' + text
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return found.stdout.split("\0")[:-1]


def planned(words: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Returns the file and the requests of a `tunehook submit` command."""
    assert words[0] == "submit"
    app = App(result_action="return_value")

    @app.default
    def submit(file: str, /, *, plan: Plan) -> tuple[str, list[dict[str, Any]]]:
        return file, [plan.body(one, "file-1", None, plan.sweep) for one in plan.combinations()]

    found: tuple[str, list[dict[str, Any]]] = app(words[1:])
    return found


async def test_what_is_read_piece_by_piece(stack: Stack, scene: Scene) -> None:
    async with stack.window() as window:
        page = await enter(window, scene.project.key, "/datasets")
        lines = await called(
            page, "file_lines", "Promise.all([1, 2, 3, 4, 5].map((n) => m.lineOf(new Blob([x]).stream(), n)))", LINES
        )
        assert lines == ["a", "x" * 20_000 + "…", "", "d", None]
        stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in CHUNKS)
        read = "m.readAnswer(new Response(x, {headers: {'content-type': 'text/event-stream'}}), () => {})"
        whole = await called(page, "chat_answer", read, stream + "data: [DONE]\n\n")
        assert whole == {"text": "Owl […]", "tokens": 1, "ended": True, "error": None}
        assert (await called(page, "chat_answer", read, stream))["error"] == "The answer broke off."
        wrong = 'data: {"error": {"message": "overloaded"}}\n\n'
        assert (await called(page, "chat_answer", read, wrong))["error"] == "overloaded"
        parts = """m.sendFile(new File(['{"messages": []}\\n'.repeat(x)], "p.jsonl"), {inOne: 100, part: 1000})"""
        sent = await called(page, "file_upload", parts, 300)
        assert (sent["training"]["filename"], sent["training"]["bytes"]) == ("p.jsonl", 17 * 300)


async def test_a_secret_is_shown_once_and_all_is_sent_again(stack: Stack, scene: Scene) -> None:
    async with stack.window() as window:
        page = await enter(window, scene.project.key, "/webhooks")
        await page.get_by_role("button", name="New endpoint").click()
        await page.get_by_label("Name", exact=True).fill("laptop")
        await page.get_by_label("URL").fill("pull:laptop")
        await page.get_by_role("button", name="Save").click()
        secret = page.get_by_role("dialog").get_by_text("whsec_")
        await expect(secret).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(secret).to_have_count(0)
        await page.get_by_role("link", name="staging", exact=True).click()
        await page.get_by_role("combobox", name="Type").select_option("fine_tuning.job.succeeded")
        await expect(page).to_have_url(re.compile("type=fine_tuning.job.succeeded"))
        await page.get_by_role("button", name="Send all again that this filter finds").click()
        await expect(page.get_by_text("Send 1 delivery again?")).to_be_visible()
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(page.get_by_text("1 of 1 are sent again.")).to_be_visible()
        await page.get_by_role("combobox", name="State").select_option("delivered")
        await expect(page.get_by_text("No delivery fits this filter.")).to_be_visible()


async def test_pasted_pairs_become_a_dataset(stack: Stack) -> None:
    project = await stack.project()
    async with stack.window() as window:
        page = await enter(window, project.key, "/new")
        await page.get_by_label("System message").fill("You name birds.")
        await page.get_by_label("Or paste").fill(pairs(20))
        await page.get_by_label("Share kept").fill("0.2")
        await page.get_by_role("button", name="Make a dataset").click()
        await expect(page.get_by_text("Validation:")).to_be_visible()
        await expect(page.get_by_text("16 lines, 16 examples")).to_be_visible()
        await page.get_by_role("button", name="Start").click()
        await page.wait_for_url("**/#/jobs/ftjob-*")


async def test_a_key_that_may_only_look_is_told_why(stack: Stack, scene: Scene) -> None:
    key = await stack.read_only(scene.project.caller.project)
    async with stack.window() as window:
        for route, action in {
            "/new": "Start",
            "/try": "Send",
            "/webhooks": "New endpoint",
            "/models": "Retrain",
        }.items():
            page = await enter(window, key, route)
            await expect(page.get_by_role("button", name=action).first).to_be_disabled()
            await expect(page.get_by_text("This key may not do that").first).to_be_visible()
            await page.close()
