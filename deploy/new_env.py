"""Writes `.env` from `.env.example` and fills in the secrets that have no default. Needs only Python.

With `--simulator`, the upstream is the simulator, which needs no key and trains nothing. With `--trainer`, it is a
trainer on this machine, which trains open-weight models. With `--sentinel`, Redis has replicas: it may die.

An `.env` that exists is left alone: with a new key, the stored webhook secrets could not be read any more.
"""

import argparse
import base64
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


#: How the lines begin that each option takes out of their comments.
LINES = {
    "simulator": ("OPENAI_BASE_URL=", "OPENAI_API_KEY="),
    "trainer": ("TUNEHOOK_UPSTREAMS__LOCAL__",),
    "sentinel": ("REDIS_SENTINEL_PASSWORD=", "REDIS_URL="),
}


def filled(example: str, chosen: list[str]) -> str:
    """Returns the text of `.env`. `chosen`: some of LINES."""
    if "simulator" in chosen:
        example = example.replace("\nOPENAI_API_KEY=\n", "\n")
    if "sentinel" in chosen:
        example = example.replace("\nTUNEHOOK_REPLICAS=0\n", "\nTUNEHOOK_REPLICAS=1\n")
    for begin in (begin for option in chosen for begin in LINES[option]):
        example = example.replace(f"\n#{begin}", f"\n{begin}")
    if chosen:  # profiles are one setting: one line names all of them
        named = f"\nCOMPOSE_PROFILES={','.join(chosen)}\n"
        example = example.replace(f"\n#COMPOSE_PROFILES={chosen[0]}\n", named)
    made = {
        "TUNEHOOK_UPSTREAMS__LOCAL__API_KEY": secrets.token_hex(24),
        "REDIS_PASSWORD": secrets.token_hex(24),
        "REDIS_SENTINEL_PASSWORD": secrets.token_hex(24),
        "TUNEHOOK_SECRET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    lines = [f"{line}{made[line[:-1]]}" if line[:-1] in made else line for line in example.splitlines()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes .env, with fresh secrets.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--simulator", action="store_true", help="train on the simulator: no key, no cost, no training")
    choice.add_argument("--trainer", action="store_true", help="train open-weight models on this machine")
    parser.add_argument("--sentinel", action="store_true", help="two replicas of Redis, and Sentinels that promote one")
    options = parser.parse_args()
    chosen = [name for name in LINES if getattr(options, name)]
    target = ROOT / ".env"
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.stderr.write(f"{target} exists and stays as it is.\n")
        return 1
    with os.fdopen(descriptor, "w") as file:
        file.write(filled((ROOT / ".env.example").read_text(), chosen))
    trainers = [name for name in chosen if name != "sentinel"]
    trains = f"The {trainers[0]} trains." if trainers else "Now name who trains: OPENAI_API_KEY or another."
    sys.stdout.write(f"{target} written, for your eyes only. {trains}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
