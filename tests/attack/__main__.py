"""`python -m tests.attack`: attacks a running Tunehook and prints the figures. Exits 1 for a fault."""

# ruff: noqa: T201
import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.attack.fuzz import furnish, fuzz
from tests.attack.load import MOST_GROWN_MIB, MOST_LIVEZ_MS, load
from tests.fakes.deployment import deployment
from tunehook.security.signature import new_secret

UPSTREAM_KEY = "sk-planted-0123456789abcdefghijklmnop"
FAST = ("--speed", "900", "--slots", "0")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000, help="random requests")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="2,000 requests, and no load")
    parser.add_argument("--processes", type=int, default=2, help="that send them")
    chosen = parser.parse_args()
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="tunehook-attack-") as name:
        directory = Path(name)
        hook_secret = new_secret()
        with deployment(
            directory / "town",
            simulators={"openai": FAST},
            OPENAI_API_KEY=UPSTREAM_KEY,
            OPENAI_WEBHOOK_SECRET=hook_secret,
        ) as town:
            planted = {
                "upstream key": UPSTREAM_KEY,
                "upstream's webhook secret": hook_secret,
                "secret key": town.settings["TUNEHOOK_SECRET_KEY"],
            }
            place = asyncio.run(furnish(town, planted, chosen.seed))
            waiting = None if chosen.short else asyncio.run(load(town))
            cases = 2000 if chosen.short else chosen.cases
            fuzzed = fuzz(town, place, directory, cases=cases, processes=chosen.processes)
            logs = town.service.said() + town.worker.said()
    leaked = [what for what, secret in {**place.secrets, "admin key": place.admin_key}.items() if secret in logs]
    tracebacks = logs.count("Traceback")
    if not fuzzed.passed:
        print(fuzzed.output)
    print(
        f"{fuzzed.cases:,} requests in {fuzzed.seconds:.0f} s (load {busy:.0f} at the start): "
        + ", ".join(f"{count:,} × {status}" for status, count in sorted(fuzzed.statuses.items()))
    )
    print(f"secrets in {len(logs.splitlines()):,} lines of logs: {', '.join(leaked) or 'none'}")
    print(f"tracebacks in logs: {tracebacks}")
    if tracebacks:
        print("\n".join(logs.split("Traceback", 1)[1].splitlines()[:40]))
    wrong = not fuzzed.passed or bool(leaked) or bool(tracebacks) or not fuzzed.cases
    if waiting is not None:
        print(
            f"{waiting.trickling} trickling bodies, {waiting.streams:,} idle streams ({waiting.open:,} open), gzip "
            f"bombs answered {waiting.bombs}: memory {waiting.grown_mib:+.0f} MiB (< {MOST_GROWN_MIB}), "
            f"/livez {waiting.p99_ms:.0f} ms at p99, {waiting.slowest_ms:.0f} ms at most (<= {MOST_LIVEZ_MS})"
        )
        wrong |= waiting.grown_mib >= MOST_GROWN_MIB or waiting.slowest_ms > MOST_LIVEZ_MS
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
