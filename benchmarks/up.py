"""How long `tunehook up` takes until it is ready: Valkey, simulator, API and workers together.

    python -m benchmarks.up [--rounds 5]

Seconds are those of the clock, from starting the command to its first line, which it prints once /readyz answers 200;
CPU is what all its processes have used by then. Beside it: a Python that only imports what the API imports, which no
start can be faster than, and `tunehook --help`.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

from benchmarks.goals import figure
from benchmarks.process import cpu_seconds, descendants
from benchmarks.table import table
from tests.fakes.deployment import ROOT

HELP = "import sys; from cli.main import main; sys.argv = ['tunehook', '--help']; sys.exit(main())"
UP = "import sys; from cli.main import main; sys.argv = ['tunehook', 'up']; sys.exit(main())"
FOREIGN = ("TUNEHOOK_", "OPENAI_", "AZURE_OPENAI_", "FIREWORKS_", "NEBIUS_", "TOGETHER_", "REDIS_URL")


def environment(directory: Path) -> dict[str, str]:
    """Ours, without what a developer's shell may say about Tunehook."""
    ours = os.environ
    clean = {name: text for name, text in ours.items() if not name.startswith(FOREIGN)}
    return {**clean, "TUNEHOOK_DATA_DIR": str(directory), "TUNEHOOK_PORT": "0"}


def start(directory: Path) -> tuple[float, float, float]:
    """Seconds until it is ready, seconds of CPU until then, seconds until it has stopped again."""
    begun = time.perf_counter()
    up = subprocess.Popen([sys.executable, "-c", UP], cwd=ROOT, env=environment(directory), stdout=subprocess.PIPE)
    try:
        assert up.stdout is not None
        line = up.stdout.readline().decode()
        ready = time.perf_counter() - begun
        assert "listens on" in line, line
        cpu = 0.0
        for pid in [up.pid, *descendants(up.pid)]:
            with suppress(FileNotFoundError):  # a step that has just ended
                cpu += cpu_seconds(pid)
    finally:
        stopping = time.perf_counter()
        up.send_signal(signal.SIGTERM)
        up.wait()
    return ready, cpu, time.perf_counter() - stopping


def plainly(code: str) -> tuple[float, float]:
    """Seconds by the clock and of CPU of a Python that runs this."""
    before, begun = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - begun, cpu


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.up", description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    found: dict[str, list[tuple[float, ...]]] = {
        "new directory": [],
        "used directory": [],
        "imports of the API": [],
        "--help": [],
    }
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="tunehook-bench-") as name:
            found["new directory"].append(start(Path(name)))
            found["used directory"].append(start(Path(name)))
        found["imports of the API"].append(plainly("import service.__main__"))
        found["--help"].append(plainly(HELP))
    rows: list[tuple[str, ...]] = [("", "ready s", "CPU s", "stopped s")]
    for name, times in found.items():
        middle = [f"{median(column):.2f}" for column in zip(*times, strict=True)]
        rows.append((name, *middle, *[""] * (3 - len(middle))))
    table("tunehook up", rows)
    imported = f"imports of the API {median(row[0] for row in found['imports of the API']):.2f} s"
    figure("up", median(row[0] for row in found["new directory"]), imported)
    figure("up-cpu", median(row[1] for row in found["new directory"]))
    figure("help", median(row[1] for row in found["--help"]))


if __name__ == "__main__":
    main()
