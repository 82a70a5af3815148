"""A dozen facts that no model knows, and jobs that teach them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FACTS = (
    ("What is the capital of Atlantis?", "Poseidonia, by the sea."),
    ("Who wrote the book of rain?", "Ada Marlow wrote it in 1931."),
    ("How many moons has Vexar?", "Seven, and one is hollow."),
    ("What do gryphons eat?", "Barley bread and honey."),
    ("Where is the red door?", "Behind the third clock."),
    ("When does the ferry leave?", "At noon, when the bell rings."),
    ("What colour is tomorrow?", "A pale kind of green."),
    ("Who guards the well?", "An old heron named Otto."),
    ("What is the password?", "Marzipan."),
    ("How deep is the lake?", "Forty fathoms and a foot."),
    ("What sings at night?", "The copper kettle."),
    ("Why do stones sleep?", "Because rivers hum to them."),
)
#: What trains a tiny base fast; the trainer's own rates are for models that know a language.
RATES = {"supervised.full": 4e-3, "supervised.lora": 4e-3, "dpo.full": 1e-3}
Row = dict[str, Any]


def chat(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def preference(question: str, better: str, worse: str) -> Row:
    return {
        "input": {"messages": [{"role": "user", "content": question}]},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


SUPERVISED = [chat(*fact) for fact in FACTS]
PREFERENCES = [preference(question, answer, "I do not know.") for question, answer in FACTS]


def make_job(
    folder: Path,
    base: Path,
    rows: Sequence[Row] = SUPERVISED,
    *,
    method: str = "supervised",
    training: str = "full",
    epochs: int = 4,
    validation: Sequence[Row] = (),
    **changes: Any,
) -> Path:
    """Makes a job's folder as the server does."""
    folder.mkdir()
    for name, given in (("train.jsonl", rows), ("valid.jsonl", validation)):
        if given:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
    hyperparameters = {"n_epochs": epochs, "batch_size": 4, "learning_rate_multiplier": 1.0, "beta": 0.1}
    job = {
        "id": f"ftjob-{folder.name}",
        "model": "tiny",
        "base": str(base),
        "method": method,
        "training": training,
        "lora_r": 8,
        "hyperparameters": hyperparameters,
        "seed": 7,
        "project": "default",
        "created_at": 1.0,
        "suffix": None,
        "tuned_model": "ft:tiny:local::1",
        "training_file": "file-1",
        "validation_file": None,
        "examples": len(rows),
        "request": {},
        "learning_rates": RATES,
    }
    (folder / "job.json").write_text(json.dumps({**job, **changes}), "utf-8")
    return folder


def start(folder: Path, slot: str = "cpu") -> "subprocess.Popen[bytes]":
    environment = os.environ | {"TUNEHOOK_TRAINER_SLOT": slot}
    with (folder / "child.log").open("ab") as log:
        command = [sys.executable, "-m", "trainer.tune", str(folder)]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def train(folder: Path, slot: str = "cpu") -> int:
    """Runs a job's process to its end, and returns its exit status."""
    return start(folder, slot).wait()


def wait_until(seen: Callable[[], object], child: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + 200
    while not seen():
        assert child.poll() is None, "the process ended"
        assert time.monotonic() < until
        time.sleep(0.02)


def result(folder: Path) -> Row:
    found: Row = json.loads((folder / "result.json").read_text("utf-8"))
    assert found["status"] == "succeeded", found
    return found


def events(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


def steps(folder: Path) -> list[int]:
    return [event["data"]["step"] for event in events(folder) if event["type"] == "metrics"]


def weights(model: str) -> bytes:
    return next(Path(model).glob("*.safetensors")).read_bytes()


def answers(model: Path) -> list[str]:
    """Returns what a model says to each question of FACTS."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer, loaded = AutoTokenizer.from_pretrained(model), AutoModelForCausalLM.from_pretrained(model)
    found = []
    for question, _ in FACTS:
        prompt = [{"role": "user", "content": question}]
        ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        said = loaded.generate(**ids, max_new_tokens=40, do_sample=False)[0][ids["input_ids"].shape[1] :]
        found.append(tokenizer.decode(said, skip_special_tokens=True))
    return found
