"""`tunehook doctor`: finds inconsistent records in the store, and mends those that can be mended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli import local_store
from cli.archive import SPOOL
from cli.lines import clean, tell
from cli.options import AsJson
from tunehook import settings
from tunehook.errors import DataDirUnavailable, UpstreamError
from tunehook.files.directory import Directory
from tunehook.files.storage import Storage, open_place
from tunehook.model.deployment import OVER
from tunehook.settings import UpstreamSettings
from tunehook.store import doctor, snapshot
from tunehook.store.finding import Finding
from tunehook.store.store import Store


async def run(
    *,
    fix: bool = False,
    as_json: AsJson = False,
    storage: bool = False,
    data_dir: Annotated[Path | None, Parameter(name="--data-dir")] = None,
) -> int:
    """Find inconsistent records in the store.

    Reads the whole store. Exit status: 0 no errors are left, 1 errors are left.

    Args:
        fix: mend what can be mended safely
        as_json: print a JSON list
        storage: also compare the storage (TUNEHOOK_STORE_URL, or the data directory) with the records: files that no
            record names, and records without their bytes
        data_dir: the same for this data directory
    """
    loaded = settings.load()
    async with local_store.opened() as (store, _):
        found = await doctor.findings(store)
        if storage or data_dir is not None:
            place = Directory(data_dir) if data_dir else open_place(loaded.store_url, loaded.data_dir)
            found += await _compared(store, Storage(place, store.deletion, adopts=False))
        if upstreams := loaded.all_upstreams():
            found += await _unrecorded(store, upstreams)
        mended = [finding for finding in found if fix and finding.mend is not None]
        if mended:
            await store.confirm()  # what was read may be lost with this Redis, and a mend may delete for good
        for finding in mended:
            assert finding.mend is not None
            await finding.mend()
        if mended:
            await store.confirm()
    if as_json:
        tell(json.dumps([_object(finding, finding in mended) for finding in found], indent=2))
    else:
        _print(found, mended)
    return 1 if any(finding.grave and finding not in mended for finding in found) else 0


async def _unrecorded(store: Store, upstreams: Mapping[str, UpstreamSettings]) -> list[Finding]:
    """Finds deployments at upstreams that no record here has: a Redis from before they were made forgot them."""
    from tunehook.upstreams.kinds import open_upstream  # noqa: PLC0415  (0.6 s, not needed without upstreams)

    found: list[Finding] = []
    for name, configured in upstreams.items():
        upstream = open_upstream(name, configured)
        try:
            listed = await upstream.listed_deployments()
        except UpstreamError as error:
            words = f"its deployments could not be listed: {error.message}"
            found.append(Finding("deployment", name, words, grave=False))
            continue
        finally:
            await upstream.close()
        records = await store.deployments.of_jobs(listed.values())
        jobs = {record.job.id for record in await store.jobs.read_many(listed.values())}
        for there, job_id in listed.items():
            known = records.get(job_id)
            if known is not None and known.stage not in OVER and known.there in (None, there):
                continue
            found.append(Finding("unrecorded", there, _advice(name, job_id, job_id in jobs), grave=job_id in jobs))
    return found


def _advice(upstream: str, job_id: str, is_ours: bool) -> str:
    where = f"at {upstream} for job {job_id}"
    if not is_ours:
        return f"{where}, which is not known here: it is another Tunehook's, or was forgotten"
    return (
        f"{where}, and billed, and no record has it: POST /v1/models/{job_id}/deploy takes it over "
        "(then DELETE removes it), or delete it at the vendor"
    )


async def _compared(store: Store, storage: Storage) -> list[Finding]:
    """Finds files that no record names, left by a restore, and records whose bytes are not in the storage."""
    wanted: dict[str, int] = {}
    try:
        here = sorted(await storage.file_ids())
        async for entries in snapshot.take(store):
            wanted |= {file.id: file.bytes for entry in entries if (file := snapshot.file_in(entry))}
        gone = [file_id for file_id, size in wanted.items() if await storage.size(file_id) != size]
    except DataDirUnavailable as error:
        return [Finding("storage", storage.place.label, error.detail)]
    words = "its bytes are in the storage, and no record names it"
    left = await store.deletion.left_behind(here)
    found = [Finding("no record", file_id, words, partial(storage.remove, file_id), grave=False) for file_id in left]
    words = "its record is here, and its bytes are not in the storage, or not all: copy them there, or delete the file"
    found += [Finding("no bytes", one, words, grave=False) for one in gone if await store.files.read_any(one)]
    if isinstance(storage.place, Directory) and (spool := storage.place.root / SPOOL).exists():
        words = "left by a restore that was killed, unless one runs now: run the restore again, or delete the directory"
        found.append(Finding("restore", str(spool), words, grave=False))
    return found


def _object(finding: Finding, mended: bool) -> dict[str, object]:
    return {
        "kind": finding.kind,
        "subject": finding.subject,
        "message": finding.words,
        "grave": finding.grave,
        "can_be_mended": finding.mend is not None,
        "mended": mended,
    }


def _print(found: list[Finding], mended: list[Finding]) -> None:
    for finding in found:
        state = "mended" if finding in mended else "mend with --fix" if finding.mend else ""
        tell(f"{finding.kind:<14}{clean(finding.subject)}\n{'':<14}{finding.words}{f' [{state}]' if state else ''}")
    grave = sum(finding.grave and finding not in mended for finding in found)
    if not found:
        tell("No errors: every job that has not ended is due, every pending delivery is scheduled.")
    elif not grave and not any(finding.mend for finding in found):
        tell(f"{len(found)} found; nothing to do.")
    else:
        tell(f"{len(found)} found, {len(mended)} mended, {grave} errors left.")
