"""The page's libraries are what its lock names, and its own stylesheet stays small."""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "service" / "page"
NAMED = json.loads((PAGE / "package.json").read_text("utf-8"))
LOCKED = json.loads((PAGE / "package-lock.json").read_text("utf-8"))["packages"]


def test_the_lock_has_exact_versions_with_integrity_and_no_addresses() -> None:
    assert LOCKED[""]["dependencies"] == NAMED["dependencies"]
    for name, version in NAMED["dependencies"].items():
        locked = LOCKED[f"node_modules/{name}"]
        assert locked["version"] == version, "exact: package.json names no range"
        assert locked["integrity"].startswith("sha512-")
    assert not [name for name, one in LOCKED.items() if "resolved" in one]
    assert {f"node_modules/{name}" for name in NAMED["dependencies"]} == set(LOCKED) - {""}, "nothing comes along"


def test_what_is_served_is_what_the_lock_names() -> None:
    files = [PAGE / "package.json", PAGE / "package-lock.json"]
    digest = hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()
    stamp = PAGE / "vendor" / ".lock.sha256"
    assert stamp.read_text() == digest, "pip install -e . fetches what package.json and its lock name now"
    for name, version in NAMED["dependencies"].items():
        folder = PAGE / "vendor" / f"{name}@{version}"
        assert (folder / "LICENSE").read_text("utf-8").strip()
    for path in NAMED["importMap"].values():
        package = next(name for name in NAMED["dependencies"] if path.startswith(f"{name}/"))
        version = NAMED["dependencies"][package]
        assert (PAGE / "vendor" / f"{package}@{version}" / path.removeprefix(f"{package}/")).is_file()


def test_the_stylesheet_stays_below_12_kb() -> None:
    assert len((PAGE / "style.css").read_bytes()) <= 12_000
