"""docs/architecture.md shows the arrows that there are, and names every package and module."""

import re
from collections.abc import Iterator
from pathlib import Path

from tunehook.model.job import ARROWS, Stage

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def drawn() -> str:
    """The table of arrows as Mermaid draws it."""
    arrows = [(source, target) for source in Stage for target in Stage if target in ARROWS[source]]
    ends = [stage for stage in Stage if not ARROWS[stage]]
    lines = [f"[*] --> {Stage.ACCEPTED}", *(f"{source} --> {target}" for source, target in arrows)]
    return "\n    ".join(["stateDiagram-v2", *lines, *(f"{stage} --> [*]" for stage in ends)])


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def named() -> Iterator[str]:
    """Paths of the tree, each below the folder that it is indented under."""
    folders: list[str] = []
    for line in block("text").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        path = "/".join([*folders[:depth], name.rstrip("/")])
        if name.endswith("/"):
            folders = path.split("/")
        yield path


def test_the_diagram_is_the_table_of_arrows() -> None:
    assert block("mermaid") == drawn()


def test_the_tree_is_the_tree() -> None:
    modules = {path for path in (ROOT / "tunehook").rglob("*.py") if path.name != "__init__.py"}
    packages = {path.parent for path in modules}
    there = {path.relative_to(ROOT).as_posix() for path in modules | packages}
    shown = list(named())
    assert len(shown) == len(set(shown))
    assert set(shown) == there


def test_each_stage_has_its_row() -> None:
    for stage in Stage:
        assert re.search(rf"^\| {stage} \|", PAGE, re.MULTILINE)


def test_modules_and_packages_that_it_mentions_exist() -> None:
    for path in re.findall(r"`((?:tunehook|service|worker|docs)/[\w/]+\.(?:py|md))`", PAGE):
        assert (ROOT / path).is_file(), path
