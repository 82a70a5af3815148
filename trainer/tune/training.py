"""Training: a job's folder → TRL → models in it. Whatever trains, counts, saves and resumes is TRL's."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import BitsAndBytesConfig, PrinterCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from trainer.records import Job
from trainer.rows import BadRow
from trainer.templates import Untrainable
from trainer.tune.folder import Folder, Row
from trainer.tune.labels import IGNORED, Encoder
from trainer.tune.progress import Cancelled, Diverged, Progress
from trainer.work import OUT_OF_MEMORY

#: Examples that are computed at once; a larger batch is made of several.
_AT_ONCE = 8
#: Rates at a multiplier of 1, by "<method>.<training>". OpenAI's API names a multiplier only.
_LEARNING_RATES = {
    "supervised.lora": 2e-4,
    "supervised.qlora": 2e-4,
    "supervised.full": 2e-5,
    "dpo.lora": 1e-5,
    "dpo.qlora": 1e-5,
    "dpo.full": 1e-6,
}
_OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


class _Preferences(DPOTrainer):  # type: ignore[misc]
    """DPO on rows that are tokens already, made by the same template and with the same care as supervised ones."""

    def _prepare_dataset(self, dataset: Any, *unused: Any) -> Any:
        return dataset


def run(folder: Folder) -> int:
    """Trains a job until it ends, is paused, or is cancelled. Returns the exit status: 0, or 75 (out of memory)."""
    if folder.is_main:
        folder.open_events()
    try:
        _train(folder, folder.job())
    except Cancelled:
        return 0
    except Untrainable as error:
        folder.fail("model_not_trainable", str(error), "model")
    except Diverged as error:
        folder.fail("training_diverged", str(error))
    except _BadFile as error:
        folder.fail(f"invalid_{error.param}", f"{error}", error.param)
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        print(error, flush=True)  # noqa: T201  (the log of the job)
        return OUT_OF_MEMORY
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(one in words for one in _OUT_OF_MEMORY_WORDS)


def _is_no_damage(error: BaseException) -> bool:
    """Returns whether a checkpoint may be whole though its training did not begin: memory, or another rank's death."""
    is_other_rank = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    return is_out_of_memory(error) or is_other_rank


def _train(folder: Folder, job: Job) -> None:
    on_gpu = torch.cuda.is_available()
    if job.training == "qlora" and not on_gpu:
        folder.fail("qlora_needs_gpu", "QLoRA needs a GPU: train with 'lora' or 'full' here.", "training")
        return
    base = Path(job.base)
    encoder = Encoder(base, min(filter(None, (job.context, _context(base))), default=None))
    encode = encoder.preference if job.method == "dpo" else encoder.supervised
    training = _dataset(folder, "training_file", "train.jsonl", encode)
    validation = None
    if (folder.path / "valid.jsonl").exists():
        validation = _dataset(folder, "validation_file", "valid.jsonl", encode)
    trainer = _trainer(folder, job, training, validation, encoder, on_gpu=on_gpu)
    progress = Progress(folder)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(progress)
    checkpoint = progress.resumed = folder.newest_checkpoint()
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        if checkpoint is not None and not progress.has_begun and not _is_no_damage(error):
            folder.drop(checkpoint)  # damaged, as after a power cut: the next start goes on from the one before
        raise
    if not progress.is_paused and folder.is_main:
        folder.succeed(int(job.hyperparameters["n_epochs"]) * _tokens(training))


def _trainer(
    folder: Folder, job: Job, training: Dataset, validation: Dataset | None, encoder: Encoder, *, on_gpu: bool
) -> Any:
    options = _options(folder, job, validated=validation is not None, on_gpu=on_gpu)
    lora = LoraConfig(r=job.lora_r, lora_alpha=2 * job.lora_r, target_modules="all-linear", task_type="CAUSAL_LM")
    common: Row = {
        "model": job.base,
        "train_dataset": training,
        "eval_dataset": validation,
        "processing_class": encoder.tokenizer,
        "peft_config": None if job.training == "full" else lora,
    }
    if job.method == "dpo":
        return _Preferences(args=DPOConfig(beta=job.hyperparameters["beta"], **options), **common)
    return SFTTrainer(args=SFTConfig(**options), **common)


def _options(folder: Folder, job: Job, *, validated: bool, on_gpu: bool) -> Row:
    """Returns what SFT and DPO are configured with."""
    batch_size = int(job.hyperparameters["batch_size"]) // folder.ranks
    at_once = max(size for size in range(1, _AT_ONCE + 1) if batch_size % size == 0)
    multiplier = job.hyperparameters["learning_rate_multiplier"]
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="bfloat16"
    )
    return {
        "output_dir": str(folder.path),
        "num_train_epochs": int(job.hyperparameters["n_epochs"]),
        "per_device_train_batch_size": at_once,
        "per_device_eval_batch_size": at_once,
        "gradient_accumulation_steps": batch_size // at_once,
        "learning_rate": {**_LEARNING_RATES, **job.learning_rates}[f"{job.method}.{job.training}"] * multiplier,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "seed": job.seed,
        "max_length": None,  # the rows are cut
        "save_strategy": "epoch",
        "save_total_limit": 2,  # the newest may be torn
        "eval_strategy": "epoch" if validated else "no",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "gradient_checkpointing": on_gpu,
        "dataloader_pin_memory": on_gpu,
        "model_init_kwargs": {
            "dtype": "bfloat16" if on_gpu and job.training != "full" else "float32",
            **({"quantization_config": quantized} if job.training == "qlora" else {}),
        },
    }


# ---- data


class _BadFile(Exception):
    """A training or validation file with an example that cannot be trained."""

    def __init__(self, param: str, words: str) -> None:
        super().__init__(words)
        self.param = param


def _dataset(folder: Folder, param: str, name: str, encode: Callable[[Row], dict[str, list[int]]]) -> Dataset:
    """Returns the rows of a file as tokens. Leaves out those that train nothing, and tells so. Raises _BadFile."""
    columns: dict[str, list[Any]] = {}
    left_out, spoken = 0, param.replace("_", " ")
    for number, row in _rows(folder.path / name):
        try:
            encoded = encode(row)
        except BadRow as error:
            raise _BadFile(param, f"Example {number} of the {spoken}: {error}.") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise _BadFile(param, f"Example {number} of the {spoken} cannot be read: {error!r}") from error
        if not _trains(encoded):
            left_out += 1
            continue
        for column, ids in encoded.items():
            columns.setdefault(column, []).append(numpy.array(ids, numpy.int32))
    if not columns:
        raise _BadFile(param, f"No example of the {spoken} has a message of the assistant to train on.")
    if left_out:
        words = f"{left_out} examples of the {spoken} train nothing, and were left out: "
        reasons = "what the assistant says has weight 0, lies beyond the context, or is the same in both outputs."
        folder.tell(words + reasons, level="warn")
    return Dataset.from_dict(columns)


def _trains(encoded: dict[str, list[int]]) -> bool:
    if "labels" in encoded:
        return any(label != IGNORED for label in encoded["labels"])
    return encoded["chosen_ids"] != encoded["rejected_ids"]


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as lines:
        number = 0
        for line in lines:
            if line.strip():
                number += 1
                yield number, json.loads(line)


def _tokens(dataset: Dataset) -> int:
    """Returns the tokens of an epoch: of a pair of answers, the prompt counts with each."""
    if "input_ids" in dataset.column_names:
        return sum(map(len, dataset["input_ids"]))
    pairs = zip(dataset["prompt_ids"], dataset["chosen_ids"], dataset["rejected_ids"], strict=True)
    return sum(2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in pairs)


def _context(base: Path) -> int | None:
    """Returns the most tokens that a base reads at once; None: its configuration does not say."""
    config = json.loads((base / "config.json").read_text("utf-8"))
    found = config.get("text_config", config).get("max_position_embeddings")
    return int(found) if found else None
