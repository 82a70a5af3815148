"""The whole of it, as its user sees it: Tunehook → trainer → webhook → answers by heart, through OpenAI's SDK."""

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_twelve_answers() -> None:
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("tunehook")), "trainer", "demo"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert "12 of 12 answers are those of the dataset" in ran.stdout
    assert "verified: fine_tuning.job.succeeded" in ran.stdout
