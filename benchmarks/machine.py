"""The machine of a run: what it is, and how much of it others used meanwhile."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cli.valkey_process import find_server

_TICK = os.sysconf("SC_CLK_TCK")
#: Shares of all cores. Above them, figures are of the others' making too.
OTHERS_LIMIT, STEAL_LIMIT = 0.10, 0.02
#: Load average of the last minute before the run, for each core.
LOAD_LIMIT = 0.5
PACKAGES = ("aiohttp", "redis", "hiredis", "rq", "pydantic", "openai")


@dataclass(frozen=True)
class Usage:
    """CPU while a program ran. `others`: of processes that it did not start; `steal`: of other machines here."""

    others: float
    steal: float
    load_before: float
    load_highest: float

    @property
    def noise(self) -> str | None:
        """Returns why these figures are not to be believed, or None."""
        if self.others > OTHERS_LIMIT:
            return f"other programs used {self.others:.0%} of the CPU (limit {OTHERS_LIMIT:.0%})"
        if self.steal > STEAL_LIMIT:
            return f"other machines took {self.steal:.0%} of the CPU (steal, limit {STEAL_LIMIT:.0%})"
        return None


class Meter:
    """Measures while its block runs. Children must have been waited for by its end: their time counts as ours."""

    usage: Usage

    def __enter__(self) -> Meter:
        self._load = self._highest = os.getloadavg()[0]
        self._before = _now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join()
        busy, steal, everything, own = (after - before for after, before in zip(_now(), self._before, strict=True))
        self.usage = Usage(max(0.0, busy - own) / everything, steal / everything, self._load, self._highest)

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self._highest = max(self._highest, os.getloadavg()[0])


def _now() -> tuple[float, float, float, float]:
    """Returns seconds of all cores: busy, stolen, all; and those of this process and the children that ended."""
    user, nice, system, idle, waiting, hard, soft, steal, *_ = (
        int(text) / _TICK for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    busy = user + nice + system + hard + soft
    return busy, steal, busy + idle + waiting + steal, sum(os.times()[:4])


def too_loaded() -> str | None:
    """Returns why a run should not begin now, or None."""
    load, limit = os.getloadavg()[0], LOAD_LIMIT * (os.cpu_count() or 1)
    return f"the load average is {load:.1f} (limit {limit:.1f})" if load > limit else None


def described() -> list[tuple[str, str]]:
    """Returns what the page says of this machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "unknown"
    )
    kib = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return [
        ("cores", f"{os.cpu_count()} of {model}, {kib / 1024**2:.0f} GiB of memory"),
        ("system", f"Linux {platform.release()}, Python {platform.python_version()}, {_valkey()}"),
        ("packages", packages),
    ]


def _valkey() -> str:
    told = subprocess.run([find_server(), "--version"], capture_output=True, text=True, check=True).stdout.split()
    return f"{told[0]} {next(word[2:] for word in told if word.startswith('v='))}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
