"""Which processes a worker runs."""

from collections import Counter

from tunehook.model.member import QUEUES
from tunehook.settings import Settings
from worker.supervisor import Supervisor


def test_every_queue_has_workers_and_every_upstream_one_for_its_polls() -> None:
    upstreams = {name: {"base_url": "http://127.0.0.1:9/v1", "api_key": "k"} for name in ("a", "b", "c")}
    settings = Settings.model_validate({"redis_url": "redis://127.0.0.1:9", "upstreams": upstreams, "workers": 2})
    started = Counter(child.name.rpartition("-")[0] for child in Supervisor(settings).children)
    assert started == {"": 1, "steps": 2, "polls": 3, "bulk": 1, "deliver": 2}
    assert set(started) == {"", *QUEUES}
