"""Five jobs at each vendor while creates go wrong and the workers are killed: one paid job and one webhook each.

`python -m tests.chaos --vendors 40` is the long form, which writes its results into docs/guarantees-<date>.md.
"""

from pathlib import Path

import pytest

from tests.chaos import vendors


@pytest.mark.processes
@pytest.mark.timeout(300)
async def test_kills_and_lost_creates_make_one_paid_job_and_one_webhook_each(tmp_path: Path) -> None:
    report = await vendors.attack(tmp_path / "town", jobs=5, kills=1, pause=1.0, settle=2.0, supervisor=False)
    assert report.broken == []
