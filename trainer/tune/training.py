"""Training: a job's folder → TRL → models in it. Whatever trains, counts, saves and resumes is TRL's."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import BitsAndBytesConfig, PrinterCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, SFTConfig, SFTTrainer

from trainer.records import Job
from trainer.templates import Untrainable
from trainer.tune import reinforcement
from trainer.tune.examples import BadFile, Encode, examples, tokens
from trainer.tune.folder import Folder, Row
from trainer.tune.labels import Encoder
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
    "reinforcement.lora": 1e-5,
    "reinforcement.qlora": 1e-5,
    "reinforcement.full": 1e-6,
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
    except BadFile as error:
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
    _check_end(encoder, base)
    encode = _encode(encoder, job)
    training = examples(folder, "training_file", "train.jsonl", encode)
    validation = None
    if (folder.path / "valid.jsonl").exists():
        validation = examples(folder, "validation_file", "valid.jsonl", encode)
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
        seen = int(trainer.state.num_input_tokens_seen)
        folder.succeed(seen if job.grader else int(job.hyperparameters["n_epochs"]) * tokens(training))


def _encode(encoder: Encoder, job: Job) -> Encode:
    if job.grader:
        return reinforcement.prompts(encoder, job.grader)
    return encoder.preference if job.method == "dpo" else encoder.supervised


def _trainer(
    folder: Folder, job: Job, training: Dataset, validation: Dataset | None, encoder: Encoder, *, on_gpu: bool
) -> Any:
    asked = options(folder, job, len(training), validated=validation is not None, on_gpu=on_gpu)
    lora = LoraConfig(r=job.lora_r, lora_alpha=2 * job.lora_r, target_modules="all-linear", task_type="CAUSAL_LM")
    common: Row = {
        "model": job.base,
        "train_dataset": training,
        "eval_dataset": validation,
        "processing_class": encoder.tokenizer,
        "peft_config": None if job.training == "full" else lora,
    }
    if job.method == "dpo":
        return _Preferences(args=DPOConfig(beta=job.hyperparameters["beta"], **asked), **common)
    if job.grader:
        common["train_dataset"] = reinforcement.in_whole_batches(training, job)
        asked = reinforcement.options(job, asked, ranks=folder.ranks, at_once=_AT_ONCE, context=encoder.longest)
        rewards = reinforcement.reward(job.grader)
        return reinforcement.Rewarding(reward_funcs=rewards, args=GRPOConfig(**asked), **common)
    return SFTTrainer(args=SFTConfig(**asked), **common)


def options(folder: Folder, job: Job, rows: int, *, validated: bool, on_gpu: bool) -> Row:
    """Returns what SFT and DPO are configured with."""
    whole = int(job.hyperparameters["batch_size"])
    batch_size = whole // folder.ranks
    # DPO gives each part of a batch the same weight, so in the last one of an epoch they must be of one size as well.
    last = rows % whole if job.method == "dpo" else 0
    at_once = max(size for size in range(1, _AT_ONCE + 1) if batch_size % size == 0 == last % size)
    multiplier = job.hyperparameters["learning_rate_multiplier"]
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype="bfloat16"
    )
    return {
        "output_dir": str(folder.path),
        "num_train_epochs": int(job.hyperparameters["n_epochs"]),
        "per_device_train_batch_size": at_once,
        # SFT's loss is of the tokens of a batch: several examples would weigh by where the file has them.
        "per_device_eval_batch_size": 1 if job.method == "supervised" else at_once,
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


def _check_end(encoder: Encoder, base: Path) -> None:
    """Raises Untrainable for a base whose server would not stop where its trained answers end."""
    end, stops = encoder.end_of_turn(), {encoder.tokenizer.eos_token_id}
    for name in ("generation_config.json", "config.json"):
        if (base / name).is_file():
            found = json.loads((base / name).read_text("utf-8")).get("eos_token_id")
            stops |= set(found if isinstance(found, list) else [found])
    if end is not None and end not in stops:
        words = f"The base's answers end with {encoder.tokenizer.decode([end])!r}, and a server would not stop there."
        raise Untrainable(
            f"{words} Train an instruct model, or add its id ({end}) to eos_token_id in its configuration."
        )


def _context(base: Path) -> int | None:
    """Returns the most tokens that a base reads at once; None: its configuration does not say."""
    config = json.loads((base / "config.json").read_text("utf-8"))
    found = config.get("text_config", config).get("max_position_embeddings")
    return int(found) if found else None
