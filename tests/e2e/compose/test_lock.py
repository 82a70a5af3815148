"""The lock that the image is built from: complete, hashed, and from nowhere in particular."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "requirements.lock": PYPROJECT["project"]["dependencies"],
    "requirements-build.lock": PYPROJECT["build-system"]["requires"],
}


def locked(name: str) -> dict[str, str]:
    """Each package's name and version; a package without a hash fails here."""
    text = re.sub(r"#.*", "", (ROOT / name).read_text()).replace("\\\n", " ")
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        requirement, *hashes = line.split(" --hash=")
        assert hashes, f"{line} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes), line
        package, version = requirement.split(";")[0].strip().split("==")
        found[package] = version
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_it_satisfies_what_pyproject_asks_for(name: str) -> None:
    versions = locked(name)
    for dependency in map(Requirement, LOCKS[name]):
        assert dependency.name in versions, f"{dependency.name} is not locked: `make lock`"
        assert dependency.specifier.contains(versions[dependency.name]), f"{dependency}: `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_it_names_no_index(name: str) -> None:
    assert not re.search(r"://|--(extra-)?index|--find-links", (ROOT / name).read_text())
