"""How fast a dataset is checked, beside a plain json.loads loop, and how much memory 500 MB need.

    python -m benchmarks.dataset_check [--megabytes 500] [--quick]

Every row is CPU time, best of several rounds taken in turns, so that other work on the machine touches all alike; the
ratio to json.loads is what to compare between machines. Lines are chat examples of about 1.5 kB.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.goals import figure
from tunehook.dataset.checker import Checker

CHUNK = 1 << 18
FIGURES = {"ordinary chat": "chat", "with tool calls": "tools"}
ROOT = Path(__file__).parents[1]
WORDS = """
the a of to and in is it you that he was for on are with as his they be at one have this from or had by hot but
some what there we can out other were all your when up use word how said an each she which do their time if will
way about many then them would write like so these her long make thing see him two has look more day could go
come did my sound no most number who over know water than call first people may down side been now find new work
warbler heron sandpiper woodpecker nightingale cormorant migration plumage territory observation
""".split()  # noqa: SIM905  # a list of a hundred quoted words is no easier to read


def text(rng: random.Random, size: int, accents: bool) -> str:
    words, length = [], 0
    while length < size:
        word = rng.choice(WORDS)
        if accents and rng.random() < 0.05:
            word = rng.choice(("déjà", "naïve", "“quoted”", "Größe", "—", "鳥"))
        end = rng.choice(("", "", "", "", "", "", "", ",", ".", ".\n"))
        words.append(word + end)
        length += len(words[-1]) + 1
    return " ".join(words)


def examples(n: int, *, accents: bool = False, seed: int = 1) -> Iterator[bytes]:
    rng = random.Random(seed)  # noqa: S311  # the same lines every time
    for i in range(n):
        sizes = (("system", 150), ("user", 400), ("assistant", 850))
        messages = [{"role": role, "content": text(rng, size, accents)} for role, size in sizes]
        yield json.dumps({"messages": messages}, ensure_ascii=i % 2 == 0).encode() + b"\n"


def with_calls(lines: list[bytes]) -> list[bytes]:
    """The same sizes, but each line with a tool call: these go the careful way."""
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"bird": "wren"}'}}
    out = []
    for line in lines:
        example = json.loads(line)
        example["messages"][2:2] = [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "A small bird."},
        ]
        out.append(json.dumps(example | {"tools": tools}).encode() + b"\n")
    return out


def check(data: bytes, model: str | None = None) -> None:
    checker = Checker(model=model)
    for at in range(0, len(data), CHUNK):
        checker.feed(data[at : at + CHUNK])
    checker.finish()


def loads(data: bytes) -> None:
    for line in data.splitlines():
        json.loads(line)


def best(jobs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    times = dict.fromkeys(jobs, float("inf"))
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            job()
            times[name] = min(times[name], time.process_time() - start)
    return times


def throughput(n: int, rounds: int) -> None:
    plain, accented = list(examples(n)), list(examples(n, accents=True))
    broken = [b'{"messages": [{"role": "usr", "content": 1}]}\n' * 30 for _ in range(n // 4)]
    rows = {
        "ordinary chat": b"".join(plain),
        "with accents": b"".join(accented),
        "with tool calls": b"".join(with_calls(plain)),
        "all lines bad": b"".join(broken),
    }
    print(f"{'lines':<18}{'what':<34}{'MB/s':>8}{'× json.loads':>14}")
    for name, data in rows.items():
        jobs: dict[str, Callable[[], None]] = {
            "json.loads, nothing checked": lambda data=data: loads(data),  # type: ignore[misc]
            "format checked": lambda data=data: check(data),  # type: ignore[misc]
            "and tokens counted (o200k)": lambda data=data: check(data, "gpt-4o"),  # type: ignore[misc]
        }
        times = best(jobs, rounds)
        for what, seconds in times.items():
            ratio = times["json.loads, nothing checked"] / seconds
            print(f"{name:<18}{what:<34}{len(data) / seconds / 1e6:>8.0f}{ratio:>14.2f}")
        if name in FIGURES:
            _figures(FIGURES[name], len(data) / 1e6, *times.values())


def _figures(kind: str, megabytes: float, loaded: float, checked: float, counted: float) -> None:
    rate = f"{megabytes / checked:.0f} beside {megabytes / loaded:.0f} MB/s"
    figure(kind, loaded / checked, rate)
    figure(f"{kind}-tokens", megabytes / counted)


def memory(megabytes: int) -> None:
    """In a process of its own each, as peak memory never goes down again."""
    most = 0.0
    print(f"\n{f'{megabytes} MB, streamed':<38}{'peak':>10}{'above 1 MB':>12}")
    for kind in ("ordinary", "short", "endless", "tokens"):
        peaks = []
        for size in (1, megabytes):
            told = subprocess.run(
                [sys.executable, "-m", "benchmarks.dataset_check", "--one", kind, "--megabytes", str(size)],
                check=True,
                capture_output=True,
                cwd=ROOT,
            )
            peaks.append(int(told.stdout) / 1024)
        names = {"ordinary": "lines of 1.5 kB", "short": "lines of 90 bytes", "endless": "one endless line"}
        label = names.get(kind, "lines of 1.5 kB, tokens counted")
        print(f"  {label:<36}{peaks[1]:>6.0f} MiB{peaks[1] - peaks[0]:>+8.0f} MiB")
        most = max(most, peaks[1] - peaks[0])
    figure("check-memory", most)


def one(kind: str, megabytes: int) -> None:
    """Streams `megabytes` through a checker and prints this process's peak memory in KiB (Linux only)."""
    checker = Checker(model="gpt-4o" if kind == "tokens" else None)
    size = megabytes * 1_000_000
    if kind == "endless":
        for _ in range(0, size, CHUNK):
            checker.feed(b"a" * CHUNK)
    elif kind == "short":
        line = '{{"messages": [{{"role": "user", "content": "{}"}}, {{"role": "assistant", "content": "ok"}}]}}\n'
        step = 2000
        for start in range(0, size // 90, step):
            checker.feed("".join(line.format(n) for n in range(start, start + step)).encode())
    else:
        piece, fed, turn = b"".join(examples(200)), 0, 0
        while fed < size:
            turn += 1  # into every text, so that no two lines are the same
            checker.feed(piece.replace(b'"content": "', b'"content": "%d ' % turn))
            fed += len(piece)
    checker.finish()
    # Not ru_maxrss, which a child inherits from a parent that was larger.
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one, args.megabytes)
        return
    throughput(1000 if args.quick else 4000, 3 if args.quick else 5)
    memory(20 if args.quick else args.megabytes)


if __name__ == "__main__":
    main()
