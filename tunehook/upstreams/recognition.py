"""Recognises our jobs among those that an upstream shows: by our mark, or else by seed and file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunehook.errors import UpstreamOddJob, UpstreamUnknown
from tunehook.model.job import TAG, JobSpec, UpstreamJob
from tunehook.upstreams import dialect
from tunehook.upstreams.members import NAME_CHARS


def is_marked(job: UpstreamJob, tag: str) -> bool:
    return (job.metadata or {}).get(TAG) == tag


def created(name: str, answer: Mapping[str, Any], tag: str, spec: JobSpec, training: str) -> UpstreamJob:
    """Returns the job that a create made.

    Raises UpstreamOddJob for an answer that names a job which cannot be told to be ours: it was made, perhaps.
    """
    try:
        made = dialect.job(name, answer)
        if not may_be_ours(made, tag, spec, training):
            raise UpstreamUnknown(upstream=name, why="the answer is about another job")
    except UpstreamUnknown as error:
        if not answer.get("id"):
            raise
        shown = str(answer["id"])[:NAME_CHARS]
        raise UpstreamOddJob(upstream=name, shown=shown, why=error.fields["why"]) from error
    return made


def may_be_ours(job: UpstreamJob, tag: str, spec: JobSpec, training: str) -> bool:
    """Returns whether a create's answer may be about the job that was asked for.

    `tag`: our mark, which proves it, as another mark proves the contrary. Seed and file prove it, too. An upstream that
    shows no mark must show our file and a model of that name, as far as it shows any; one that shows other metadata
    must show the file.
    """
    if TAG in (job.metadata or {}):
        return is_marked(job, tag)
    file_is_ours = job.training_file == training
    if file_is_ours and job.seed == spec.seed:
        return True
    if not file_is_ours and (job.metadata or job.training_file):
        return False
    shown, asked = _plain_name(job.model), _plain_name(spec.model)
    return shown.startswith(asked) or asked.startswith(shown)


def _plain_name(model: str) -> str:
    """Returns a model's name without a vendor's path, dots and "latest": Azure's gpt-35-turbo is gpt-3.5-turbo."""
    return re.sub(r"[^a-z0-9]", "", model.rpartition("/")[2].lower().removeprefix("ft:")).removesuffix("latest")


def ours(jobs: Sequence[UpstreamJob], tag: str, spec: JobSpec, training: str, *, since: int) -> list[UpstreamJob]:
    """Returns the jobs that bear our mark, oldest first; without metadata, jobs that look alike.

    Alike: same seed and file, created at `since` (unix seconds) or later; the likeliest first, then the oldest. They
    may be other jobs of the same client, so the caller adopts none twice and cancels none. Model and hyperparameters
    only order them, since upstreams show them in other forms.
    """
    shows_marks = any(TAG in (job.metadata or {}) for job in jobs)
    if shows_marks:
        return sorted((job for job in jobs if is_marked(job, tag)), key=lambda job: (job.created_at, job.id))
    without = [job for job in alike(jobs, spec, training, since=since) if not job.metadata]
    return sorted(without, key=lambda job: (not _as_requested(job, spec), job.created_at, job.id))


def alike(jobs: Sequence[UpstreamJob], spec: JobSpec, training: str, *, since: int) -> list[UpstreamJob]:
    """Returns the jobs without a mark that have our seed and file and were created at `since` (unix seconds) or later.

    One with metadata may be ours, too: a gateway may have put its own in the place of ours.
    """
    return [
        job
        for job in jobs
        if TAG not in (job.metadata or {})
        and job.seed == spec.seed
        and training in ("", job.training_file)
        and (job.created_at >= since or not job.created_at)
    ]


def _as_requested(job: UpstreamJob, spec: JobSpec) -> bool:
    """Returns whether the job shows no other model and hyperparameters than were asked for."""
    shown = ((job.method or {}).get(spec.kind) or {}).get("hyperparameters") or job.hyperparameters or {}
    as_asked = all(shown.get(name, "auto") in ("auto", value) for name, value in spec.asked.items() if value != "auto")
    return as_asked and job.model.startswith(spec.model)
