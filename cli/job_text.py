"""A job of the API as a row of a table, or as facts one below the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from cli import times
from cli.options import path_of
from tunehook.dataset.prices import usd_text

Object = dict[str, Any]
HEAD = ("JOB", "STATUS", "NOTE", "MODEL", "TUNED MODEL", "USD", "CREATED", "UPSTREAM")
ENDED = ("succeeded", "failed", "cancelled")
job_path = partial(path_of, "/fine_tuning/jobs")


def job_row(job: Mapping[str, Any]) -> tuple[object, ...]:
    """Returns the cells below HEAD."""
    return (
        job["id"],
        job["status"],
        job_note(job),
        job["model"],
        job["fine_tuned_model"],
        job_usd(job),
        times.shown(job["created_at"]),
        job["tunehook"]["upstream"],
    )


def job_usd(job: Mapping[str, Any]) -> str | None:
    """Returns what a job cost, or `~` and the estimate."""
    cost, estimate = job["tunehook"]["cost"], job["tunehook"]["estimate"]
    if cost and cost["usd"] is not None:
        return usd_text(cost["usd"])
    return f"~{usd_text(estimate['usd'])}" if estimate and estimate["usd"] is not None else None


def total_usd(amounts: Iterable[float | None]) -> str:
    """Returns the sum of estimates in words; None is a job without one."""
    every = list(amounts)
    known = [usd for usd in every if usd is not None]
    without = f" and {len(every) - len(known)} without an estimate" if len(known) < len(every) else ""
    return f"about ${usd_text(round(sum(known), 2))}{without}"


def job_note(job: Mapping[str, Any]) -> str | None:
    """Returns why a job failed or waits, or that it is being cancelled."""
    ours = job["tunehook"]
    if job["error"]:
        return str(job["error"]["message"])
    if ours["waiting"]:
        again = ours["waiting"].get("retry_at")
        return f"{ours['waiting']['reason']}{f' (again at {times.shown(again)})' if again else ''}"
    return "being cancelled" if ours["cancel_requested_at"] and job["status"] not in ENDED else None


def job_facts(job: Mapping[str, Any]) -> dict[str, object]:
    """Returns what `jobs show` prints, name → text; None for what is not known."""
    ours = job["tunehook"]
    upload = ours["upload"]
    return {
        "job": job["id"],
        "status": job["status"],
        "stage": ours["stage"],
        "note": job_note(job),
        "model": job["model"],
        "tuned model": job["fine_tuned_model"],
        "before it answers": (ours["model"] or {}).get("what_to_do") or (ours["model"] or {}).get("state"),
        "upstream": ours["upstream"],
        "job there": ours["upstream_job_id"],
        "uploaded": f"{upload['bytes_sent']:,} of {upload['bytes_total']:,} bytes" if upload else None,
        "created": times.shown(job["created_at"]),
        "estimated finish": times.shown(job["estimated_finish"]),
        "finished": times.shown(job["finished_at"]),
        "training file": job["training_file"],
        "validation file": job["validation_file"],
        "method": job["method"]["type"],
        "hyperparameters": _pairs(job["hyperparameters"]),
        "trained tokens": job["trained_tokens"],
        "USD": job_usd(job),
        "metadata": _pairs(job["metadata"]),
        "webhook to": ours["callback_url"],
        "result files": ", ".join(job["result_files"]) or None,
        "retrained from": ours["retrained_from"],
    }


def _pairs(found: Mapping[str, Any] | None) -> str | None:
    return ", ".join(f"{name}={value}" for name, value in (found or {}).items()) or None
