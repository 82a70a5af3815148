"""Reads the programs' logs for `tunehook up`: one line for each job and each webhook."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

#: What the service and the workers log of jobs and webhooks: an accepted job, a job's end, an attempt at a webhook.
_ACCEPTED = re.compile(r": POST /v1/fine_tuning/jobs → 200 (ftjob-\w+)")
_TOLD = re.compile(r": ((?:job ftjob-|webhook |delivery dlv_|file file-).*)")


class Followed:
    """Reads what was added to a log since the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = ""

    def lines(self) -> list[str]:
        """Returns the new lines that tell of a job, a file or a webhook, each with its time of day."""
        with self._path.open("rb") as log:
            log.seek(self._read)
            added = log.read()
        self._read += len(added)
        *whole, self._rest = (self._rest + added.decode("utf-8", "replace")).split("\n")
        return [shown for line in whole if (shown := _shown(line))]


def _shown(line: str) -> str | None:
    if line.startswith("{"):  # TUNEHOOK_LOG=json
        with suppress(ValueError):
            row = json.loads(line)
            line = f"{row['time']}: {row['message']}"
    if accepted := _ACCEPTED.search(line):
        return f"{line[11:19]}  job {accepted[1]} accepted"
    told = _TOLD.search(line)
    return f"{line[11:19]}  {told[1]}" if told else None
