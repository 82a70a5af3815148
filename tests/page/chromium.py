"""Finds Debian's Chromium, which Playwright drives; `python -m tests.page.chromium` installs it where it is missing."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
MISSING = """\
The page's tests need Chromium, and none was found ({names}).
Install it, then run this again. Debian: sudo apt-get install --no-install-recommends chromium"""


def find() -> str | None:
    """Returns the path of the browser; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


def main() -> int:
    """Returns 0 once there is a browser. As root on Debian it is installed; elsewhere the user is told how."""
    if find() is None and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            done = subprocess.run(["apt-get", "--quiet=2", *command], env=environment, capture_output=True, text=True)
            if done.returncode:
                print(done.stderr.strip()[-500:], file=sys.stderr)  # noqa: T201
                break
    if find() is None:
        print(MISSING.format(names=", ".join(NAMES)), file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
