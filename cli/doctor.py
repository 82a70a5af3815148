"""`tunehook doctor`: what in the store cannot be right, and what can be done about it."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from cli import local_store
from tunehook.store import doctor
from tunehook.store.doctor import Finding
from tunehook.store.store import Store


def add_command(subparsers: Any) -> None:
    doctor = subparsers.add_parser(
        "doctor",
        help="read the store and tell what is inconsistent",
        description="Reads the whole store. Exit status: 0 all is well, 1 something is wrong (and was not mended).",
    )
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended safely")
    doctor.add_argument("--json", action="store_true", help="print a JSON list")
    doctor.set_defaults(run=lambda args: asyncio.run(_doctor(args)))


async def _doctor(args: argparse.Namespace) -> int:
    url, _ = local_store.find()
    store = Store.connect(url)
    try:
        found = await doctor.findings(store)
        mended = [finding for finding in found if args.fix and finding.mend is not None]
        for finding in mended:
            assert finding.mend is not None
            await finding.mend()
    finally:
        await store.close()
    if args.json:
        print(json.dumps([_object(finding, finding in mended) for finding in found], indent=2))
    else:
        _print(found, mended)
    return 1 if any(finding.grave and finding not in mended for finding in found) else 0


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
        print(f"{finding.kind:<14}{finding.subject}\n{'':<14}{finding.words}{f' [{state}]' if state else ''}")
    grave = sum(finding.grave and finding not in mended for finding in found)
    if not found:
        print("All is well: every job that has not ended is due, every delivery is on its way.")
    elif not grave and not any(finding.mend for finding in found):
        print(f"{len(found)} found; nothing to do.")
    else:
        print(f"{len(found)} found, {len(mended)} mended, {grave} left that are wrong.")
