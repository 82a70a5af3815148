"""The main job through the page alone: key, dataset, report, price, start, live curve, end, webhook, chat."""

import asyncio
import base64
import json
import os
import re
import sys
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.fakes.receiver import running_receiver
from tests.page.conftest import Stack
from tests.page.project import MODEL
from tests.page.scene import small_dataset
from tests.page.views import enter, rows

pytestmark = pytest.mark.asyncio(loop_scope="session")

_DROP = """([target, content, name]) => {
  const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0))
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], name))
  for (const type of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}))
}"""


async def drop(page: Page, label: str, content: bytes, name: str) -> None:
    """Drops a file where the field with this label is."""
    target = await page.get_by_label(label).element_handle()
    await page.evaluate(_DROP, [target, base64.b64encode(content).decode(), name])


async def test_from_dataset_to_chat(stack: Stack) -> None:
    project = await stack.project()
    async with running_receiver() as receiver, stack.window() as window:
        page = await window.tab()
        await page.get_by_label("API key").fill(project.key)
        await page.keyboard.press("Enter")
        await page.get_by_role("navigation").get_by_role("link", name="New").click()

        await drop(page, "Training file", small_dataset(project.caller.project), "birds.jsonl")
        main = page.get_by_role("main")
        await expect(main).to_contain_text("✓ no errors")
        await page.get_by_label("Upstream").select_option("openai")
        await page.get_by_label("Name").fill("birds")
        await page.get_by_label("Callback").fill(receiver.url)
        await expect(main).to_contain_text(re.compile(r"\$0\.\d+"))
        await page.get_by_role("button", name="Start").click()

        await page.wait_for_url(re.compile(r"#/jobs/ftjob-"))
        job_id = page.url.rpartition("/")[2]
        await expect(main.locator("code").filter(has_text=job_id[:12]).first).to_be_visible()
        curve = page.locator("figure")
        await curve.locator("canvas").first.wait_for()
        said = curve.locator("figcaption")
        await expect(said).not_to_have_text(await said.inner_text(), use_inner_text=True)  # it moves by itself
        await stack.simulator().advance(600)
        await expect(main).to_contain_text("✓ succeeded")
        await receiver.wait()
        await expect(main).to_contain_text("delivered, 204")
        hook = receiver.hooks[0]
        assert json.loads(hook.body)["data"]["id"] == job_id

        await page.get_by_role("link", name="Try it").first.click()
        await page.get_by_label("Prompt").fill(f"Name bird 3 of {project.caller.project}.")
        await page.get_by_role("button", name="Send").click()
        await expect(main.locator("pre").last).to_have_text("Owl")
        await expect(main.locator("pre").first).to_contain_text("not tuned")
        assert window.count("POST /v1/chat/completions") == 2
    job = await project.call("GET", f"/fine_tuning/jobs/{job_id}")
    assert job["fine_tuned_model"].split(":")[3] == "birds"


async def test_a_sweep_of_the_form_is_priced_started_and_compared(stack: Stack) -> None:
    project = await stack.project()
    file = await project.file(small_dataset(project.caller.project))
    async with stack.window() as window:
        page = await enter(window, project.key, f"/new?training={file}&upstream=fast")
        await page.get_by_text("Hyperparameters, seed, metadata").click()
        await page.get_by_label("Epochs").fill("2, 3")
        await page.get_by_label("Learning rate").fill("0.5,1")
        await expect(page.get_by_role("main")).to_contain_text(re.compile(r"4 jobs · \$0\.\d+"))
        await page.get_by_role("button", name="Start 4 jobs").click()
        await page.wait_for_url(re.compile(r"#/compare\?sweep=sweep-"))
        await expect(rows(page)).to_have_count(4)
        await page.locator("canvas").first.wait_for()
        await expect(page.locator(".legend")).to_contain_text("n_epochs=3 learning_rate_multiplier=1 train")


async def test_a_sweep_that_was_refused_in_its_middle_makes_no_job_twice(stack: Stack) -> None:
    """One of its values is changed before it goes on."""
    project = await stack.project()
    file = await project.file(small_dataset(project.caller.project))
    refused: list[str] = []

    async def refuse_the_second(route: Route) -> None:
        if route.request.method == "POST" and "n_epochs=3" in (route.request.post_data or ""):
            refused.append(route.request.url)
            await route.fulfill(status=400, json={"error": {"message": "Three epochs are not had today."}})
        else:
            await route.continue_()

    async with stack.window() as window:
        page = await enter(window, project.key, f"/new?training={file}&upstream=fast")
        await page.route("**/v1/fine_tuning/jobs", refuse_the_second)
        await page.get_by_text("Hyperparameters, seed, metadata").click()
        await page.get_by_label("Epochs").fill("2, 3")
        await page.get_by_role("button", name="Start 2 jobs").click()
        await expect(page.get_by_role("main")).to_contain_text("1 of 2 were made.")
        await page.get_by_label("Epochs").fill("2, 4")
        await page.get_by_role("button", name="Start 2 jobs").click()
        await page.wait_for_url(re.compile(r"#/compare\?sweep=sweep-"))
        window.forgive(r"status of 400")
    assert len(refused) == 1
    made = (await project.call("GET", "/fine_tuning/jobs"))["data"]
    assert sorted(job["metadata"]["sweep_run"] for job in made) == ["n_epochs=2", "n_epochs=4"]


async def test_a_sweep_of_the_command_is_compared_with_one_click(stack: Stack, tmp_path: Path) -> None:
    project = await stack.project()
    file = tmp_path / "birds.jsonl"
    file.write_bytes(small_dataset(project.caller.project))
    words = ["submit", str(file), "--model", MODEL, "--epochs", "2,3", "--upstream", "fast", "--yes"]
    command = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "import sys; from cli.main import main; sys.exit(main())"),
        *words,
        env={**os.environ, "OPENAI_BASE_URL": project.url, "OPENAI_API_KEY": project.key},
    )
    assert await command.wait() == 0
    async with stack.window() as window:
        page = await enter(window, project.key)
        await expect(rows(page)).to_have_count(2)
        await page.get_by_role("link", name=re.compile("^sweep ")).first.click()
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Sweep")
        await page.locator("canvas").first.wait_for()
        for run in ("n_epochs=2", "n_epochs=3"):
            await expect(page.locator(".legend")).to_contain_text(f"{run} train")
        await expect(page.get_by_role("row", name="n_epochs 2 3")).to_be_visible()
