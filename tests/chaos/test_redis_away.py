"""Redis refuses, hangs, is full, is killed: the API says so at once, and no job minds."""

import asyncio
from pathlib import Path

from tests.chaos import disturbances
from tests.chaos.drive import drive
from tests.chaos.faults import Run
from tests.chaos.town import town


async def test_while_redis_is_away_hangs_or_is_full_the_api_says_so_within_a_second(tmp_path: Path) -> None:
    async with town(tmp_path, workers=1) as place:
        runs = [Run(number, "plain") for number in range(1, 5)]
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(drive(place, run))
            for how in ("refuses", "hangs"):
                wrong, _ = await disturbances.away(place, 1.5, how)
                assert wrong == []
            assert (await disturbances.full(place, 1.0))[0] == []
            async with disturbances.redis_killed(place):
                pass
        assert [fault for run in runs for fault in run.broken] == []
        assert place.forgotten == set()
