"""Items: the members that all lines of a reinforcement file have, compared with what a grader reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tunehook.dataset.findings import Finding, finding
from tunehook.dataset.strict_json import MAX_DEPTH

#: Of the first line, and of a path: no grader reads more. A path is kept for each member, with the names above it.
MAX_PATHS, PATH_CHARS = 1000, 1000
_ITEM = re.compile(r"\bitem((?:\.\w+|\[\s*(?:\d+|'[^']*'|\"[^\"]*\")\s*\])+)")
_STEP = re.compile(r"\.(\w+)|\[\s*(?:\d+|'([^']*)'|\"([^\"]*)\")\s*\]")


class ItemKeys:
    """Collects the dotted paths that all lines have: those of the first line that no later line lacks."""

    def __init__(self) -> None:
        self._common: set[str] | None = None
        self.missing_since: dict[str, int] = {}

    def add(self, number: int, line: dict[str, Any]) -> None:
        if self._common is None:
            self._common = set(islice(_paths(line, "", 0), MAX_PATHS))
            return
        for path in [path for path in self._common if not _has(line, path)]:
            self._common.discard(path)
            self.missing_since[path] = number

    def common(self) -> list[str]:
        return sorted(self._common or ())


def _paths(value: dict[str, Any], prefix: str, depth: int) -> Iterator[str]:
    for key, inner in value.items():
        if re.fullmatch(r"\w+", key) and len(prefix) + len(key) <= PATH_CHARS:
            yield prefix + key
            if isinstance(inner, dict) and depth < MAX_DEPTH:
                yield from _paths(inner, f"{prefix}{key}.", depth + 1)


def _has(line: Any, path: str) -> bool:
    for key in path.split("."):
        if not isinstance(line, dict) or key not in line:
            return False
        line = line[key]
    return True


def item_paths(grader: Any) -> dict[str, str]:
    """Returns each dotted path that a grader reads of a line (no list indices), and where it does.

    Searches for {{ item.… }} in all strings of the grader, inside `multi` graders too; but not in the source of a
    python grader, which is code and no template.
    """
    found: dict[str, str] = {}
    stack: list[tuple[Any, str]] = [(grader, "$")]
    while stack:
        value, at = stack.pop()
        if isinstance(value, dict):
            stack.extend((inner, f"{at}.{key}"[:PATH_CHARS]) for key, inner in value.items() if key != "source")
        elif isinstance(value, list):
            stack.extend((inner, f"{at}[{i}]"[:PATH_CHARS]) for i, inner in enumerate(value))
        elif isinstance(value, str):
            # By split: a pattern such as {{.*?}} would search from each brace to the end of the text.
            for part in value.split("}}")[:-1]:
                for steps in _ITEM.findall(part.partition("{{")[2]):
                    names = [a or b or c for a, b, c in _STEP.findall(steps)]
                    found.setdefault(".".join(filter(None, names))[:PATH_CHARS], at)
    return found


def check_grader(grader: Any, item_keys: list[str], missing_since: dict[str, int]) -> list[Finding]:
    """Returns an error for each member that the grader reads and a line lacks.

    The second and third argument are `item_keys` and `missing_since` of a Report.
    """
    have, found = set(item_keys), []
    for path, at in sorted(item_paths(grader).items()):
        if not path or path in have:
            continue
        parts = path.split(".")
        upwards = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        line = next((missing_since[p] for p in upwards if p in missing_since), 1)
        said = f"The grader reads item.{path}, which line {line} does not have."
        found.append(finding("grader_item_missing", line, at, said))
    return found
