"""examples/article.ipynb is examples/article.py, cell by cell."""

import ast
import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
MARK = "# %%"


def notebook(script: str) -> str:
    """Returns the notebook of a script whose cells begin with `# %%`, or `# %% [markdown]` and comments."""
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(script.split(f"{MARK}")[1:]):
        kind, _, text = part.partition("\n")
        lines = text.strip("\n").splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}, "source": lines}
        if kind.strip() == "[markdown]":
            cell |= {"cell_type": "markdown", "source": [line.removeprefix("#").removeprefix(" ") for line in lines]}
        else:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append(dict(sorted(cell.items())))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def test_the_notebook_is_the_script() -> None:
    """A stale notebook is written anew, and fails once: look at it and commit it."""
    wanted = notebook((EXAMPLES / "article.py").read_text("utf-8"))
    page = EXAMPLES / "article.ipynb"
    before = page.read_text("utf-8") if page.is_file() else ""
    if before != wanted:
        page.write_text(wanted, "utf-8")
    assert before == wanted, "examples/article.ipynb was out of date; it has been written anew"


def test_each_cell_of_code_is_whole() -> None:
    for cell in json.loads((EXAMPLES / "article.ipynb").read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))
        else:
            assert cell["source"][0].startswith(("#", "Or"))
