"""`tunehook trainer fetch|demo`: the base models of the trainer of one's own, and a look at what it does."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import openai
from cyclopts import App

from cli.demo import EXAMPLES, DemoFailed, Run, follow, receiver, running, verified
from cli.lines import tell
from cli.up import NoTrainingLibraries
from tunehook import settings

#: Seconds for `transformers serve` to answer, which starts when the training has ended.
SERVING_SECONDS = 120.0
EPOCHS = 50
#: What the tiny model of the demo learns by; the trainer's own rates are for models that know a language.
RATES = {"supervised.full": 4e-3}

app = App(name="trainer", help="Fetch a base model for the trainer of one's own, or watch it train.")


@app.command
def fetch(alias: str) -> int:
    """Download a base model of the trainer's list, once. After that it works offline.

    Parameters
    ----------
    alias
        Its name in the trainer's models.json, such as qwen2.5-0.5b-instruct.
    """
    found = settings.load()
    environment = settings.environment()
    if not environment.get("TUNEHOOK_TRAINER_DATA_DIR"):  # the trainer's own image sets it
        environment["TUNEHOOK_TRAINER_DATA_DIR"] = str(found.data_dir.absolute() / "trainer")
    return subprocess.run([sys.executable, "-m", "trainer.fetch", alias], env=environment, check=False).returncode


@app.command
def demo() -> int:
    """Make a tiny model, train it on twelve facts, and show it before and after. Nothing is downloaded."""
    begun = time.monotonic()
    if find_spec("trl") is None:
        raise NoTrainingLibraries
    dataset = EXAMPLES / "invented_facts.jsonl"
    if not dataset.exists():
        raise DemoFailed(why=f"{dataset} does not exist. Run the demo from a checkout of the repository.")
    with tempfile.TemporaryDirectory(prefix="tunehook-demo-") as directory, receiver() as (url, posts):
        models = _make_base(Path(directory), dataset)
        changes = {
            "TUNEHOOK_TRAINER_MODELS": str(models),
            "TUNEHOOK_TRAINER_SLOTS": "cpu",
            # So small a model is slower with several threads. What serves it starts while it trains.
            "OMP_NUM_THREADS": "1",
            "TUNEHOOK_TRAINER_SERVE_WHILE_TRAINING": "true",
            "TUNEHOOK_TRAINER_SWEEP_SECONDS": "0.5",
        }
        with running(Path(directory), changes, train=True) as (processes, client):
            tell(f"Tunehook runs at {processes.url}, with a trainer on this machine behind it.")
            run = Run(dataset, "")
            with dataset.open("rb") as content:
                uploaded = client.files.create(file=content, purpose="fine-tune")
            run.bytes_total = uploaded.bytes
            run.job_id = client.fine_tuning.jobs.create(
                model="tiny",
                training_file=uploaded.id,
                method={
                    "type": "supervised",
                    "supervised": {"hyperparameters": {"n_epochs": EPOCHS, "batch_size": 4}},
                },
                extra_body={"callback_url": url, "tunehook": {"upstream": "local", "options": {"training": "full"}}},
            ).id
            follow(client, [run])
            event, tuned = verified(client, posts)
            tell(f"\nwebhook {event.id} verified: {event.type}\nmodel   {tuned}\n")
            assert processes.trainer is not None
            address, key = processes.trainer  # Tunehook passes on chats with tuned models only
            _compare(openai.OpenAI(base_url=address, api_key=key), client, tuned, dataset)
    tell(f"\ndone in {time.monotonic() - begun:.0f} s; nothing is left behind")
    return 0


def _make_base(directory: Path, dataset: Path) -> Path:
    """Makes a tiny model of random weights, and returns the list that names it."""
    tiny = directory / "tiny"
    command = [sys.executable, "-m", "trainer.tune.tiny", str(tiny), str(dataset)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise DemoFailed(why=f"The tiny model was not made. {made.stderr.strip()[-500:]}")
    size = (tiny / "model.safetensors").stat().st_size
    tell(f"A model of {size / 1e6:.1f} MB was made here, of random weights.")
    row = {
        "alias": "tiny",
        "path": str(tiny),
        "licence": "made here",
        "parameters": size // 4,
        "context": 2048,
        "methods": ["supervised", "dpo"],
        "training": ["full", "lora"],
        "learning_rates": RATES,
    }
    models = directory / "models.json"
    models.write_text(json.dumps({"models": [row]}), "utf-8")
    return models


def _compare(trainer: openai.OpenAI, client: openai.OpenAI, tuned: str, dataset: Path) -> None:
    """Asks the base and the tuned model each question, and prints both answers."""
    rows = [json.loads(line)["messages"] for line in dataset.read_text("utf-8").splitlines()]
    right = 0
    tell(f"{'question':<34}{'before':<26}after")
    for question, answer in rows:
        said = [_ask(asked, model, question["content"]) for asked, model in ((trainer, "tiny"), (client, tuned))]
        right += said[1] == answer["content"]
        before = " ".join(said[0].split())[:22] or "(blanks)"
        tell(f"{question['content']:<34}{before:<26}{said[1]}")
    tell(f"\n{right} of {len(rows)} answers are those of the dataset")
    if right < len(rows):
        raise DemoFailed(why="The tuned model does not know all it was taught.")


def _ask(client: openai.OpenAI, model: str, question: str) -> str:
    """Returns a model's answer, once what serves it has started."""
    until = time.monotonic() + SERVING_SECONDS
    while True:
        try:
            answer = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=24, temperature=0
            )
            return answer.choices[0].message.content or ""
        except openai.InternalServerError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
