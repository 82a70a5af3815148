"""What waits in a lane: among the slow, of another version, or not to be read."""

import pytest

from tests.fakes.misbehaving_receiver import Misbehaving
from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import Office
from tunehook.store import doctor

SUCCEEDED = "fine_tuning.job.succeeded"


async def test_a_lane_that_waits_among_the_slow_is_nothing_that_the_doctor_finds(
    office: Office, bad: Misbehaving
) -> None:
    await office.subscribe(f"{bad.root}/hang", SUCCEEDED)
    await office.happen()
    await office.deliver(0.2)
    assert await office.ctx.store.redis.zcard("th:due:slow")
    found = await doctor.findings(office.ctx.store)
    assert [finding for finding in found if finding.kind == "stuck"] == []


@pytest.mark.parametrize("of_it", ["newer", "unreadable"])
async def test_what_another_version_wrote_waits_for_that_one_and_holds_up_no_other(
    office: Office, receiver: Receiver, of_it: str
) -> None:
    """Neither sent without being recorded, again and again, nor given up."""
    made = await office.subscribe(receiver.url, SUCCEEDED)
    await office.happen()
    [theirs] = await office.deliveries(made["id"])
    redis, name = office.ctx.store.redis, f"th:delivery:{theirs['id']}"
    document = await redis.hget(name, "doc")
    await redis.hset(name, mapping={"v": 99} if of_it == "newer" else {"doc": document.replace('"url"', '"to"')})
    await office.happen()
    await office.deliver()
    assert len(receiver.hooks) == 1
    assert (4 if of_it == "newer" else 3500) < await office.due_in(made["id"], theirs["id"]) <= 3600
    await redis.hset(name, mapping={"v": 1, "doc": document})
    await office.make_due(made["id"])
    await office.deliver()
    assert len(receiver.hooks) == 2
