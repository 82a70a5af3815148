"""The page's pure modules in Node, and every file of the page parsed as the module that it is."""

import subprocess
from pathlib import Path

from tests.compat import node

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "service" / "page"


def test_the_logic_of_the_page() -> None:
    command = [str(node.NODE), "--test", str(Path(__file__).parent / "page" / "logic.test.mjs")]
    done = subprocess.run(command, env=node.ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


def test_every_file_of_the_page_is_a_module() -> None:
    files = [file for file in PAGE.rglob("*.js") if not {"vendor", "node_modules"} & set(file.parts)]
    assert len(files) > 10
    for file in files:
        command = [str(node.NODE), "--check", str(file)]
        done = subprocess.run(command, env=node.ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
