"""All of it behind one name."""

from __future__ import annotations

from redis.asyncio import Redis

from tunehook.store.access import Access
from tunehook.store.deliveries import Deliveries
from tunehook.store.due import Due
from tunehook.store.durability import shortcomings
from tunehook.store.endpoints import Endpoints
from tunehook.store.figures import FigureStore
from tunehook.store.files import Files
from tunehook.store.forgetting import Forgetting
from tunehook.store.jobs import Jobs
from tunehook.store.lanes import Lanes
from tunehook.store.memory import Memory
from tunehook.store.models import Models
from tunehook.store.tellings import Tellings
from tunehook.store.uploads import Uploads
from tunehook.store.upstreams import Upstreams


class Store(Due):
    """Redis as the program sees it: records and what is due. Nothing is sent before the first call."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.jobs = Jobs(self)
        self.files = Files(self)
        self.uploads = Uploads(self)
        self.memory = Memory(self)
        self.models = Models(self)
        self.figures = FigureStore(self)
        self.forgetting = Forgetting(self)
        self.upstreams = Upstreams(self)
        self.access = Access(self)
        self.deliveries = Deliveries(self)
        self.endpoints = Endpoints(self)
        self.lanes = Lanes(self)
        self.tellings = Tellings(self)

    async def durability(self) -> str | None:
        """What Redis could lose, in words; None: nothing."""
        return "; ".join(await shortcomings(self)) or None
