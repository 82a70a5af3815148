"""The examples that make a key name its project: without one, all teams share `default`."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), ROOT / ".env.example"]
PAGES += [*(ROOT / "cli").glob("*.py"), ROOT / "docker-compose.yml", *(ROOT / "deploy").glob("*.py")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_example_that_makes_a_key_names_its_project(page: Path) -> None:
    for example in re.findall(r"tunehook keys create(?!\|)[^\n`]*", page.read_text()):
        assert "--project" in example or "--admin" in example, example
