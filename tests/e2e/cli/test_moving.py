"""An account moves to another upstream by `tunehook import` and `tunehook retrain`, under kills.

`python -m tests.chaos --moving 200` is the long form.
"""

from pathlib import Path

import pytest

from tests.chaos import moving


@pytest.mark.processes
@pytest.mark.timeout(300)
async def test_jobs_are_imported_and_retrained_once_though_commands_and_service_are_killed(tmp_path: Path) -> None:
    report = await moving.move(tmp_path / "town", jobs=8)
    assert report.broken == []
