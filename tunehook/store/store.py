"""The facade: every part of the store behind one object."""

from __future__ import annotations

from redis.asyncio import Redis

from tunehook.store.announcements import Announcements
from tunehook.store.api_keys import ApiKeys
from tunehook.store.copies import Copies
from tunehook.store.deletion import Deletion
from tunehook.store.deliveries import Deliveries
from tunehook.store.delivery_queue import DeliveryQueue
from tunehook.store.deployments import Deployments
from tunehook.store.endpoints import Endpoints
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.files import Files
from tunehook.store.job_log import JobLog
from tunehook.store.job_metrics import JobMetrics
from tunehook.store.jobs import Jobs
from tunehook.store.metrics import MetricsReader
from tunehook.store.models import Models
from tunehook.store.project_events import ProjectEvents
from tunehook.store.projects import Projects
from tunehook.store.pull_queue import PullQueue
from tunehook.store.redis_health import RedisHealth
from tunehook.store.uploads import Uploads
from tunehook.store.upstreams import Upstreams


class Store(DueQueue):
    """Redis as the program sees it: records and due members. No command is sent before the first call."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.jobs = Jobs(self)
        self.job_log = JobLog(self)
        self.job_metrics = JobMetrics(self, self.job_log)
        self.files = Files(self)
        self.copies = Copies(self)
        self.uploads = Uploads(self)
        self.models = Models(self)
        self.deployments = Deployments(self)
        self.upstreams = Upstreams(self)
        self.api_keys = ApiKeys(self)
        self.projects = Projects(self)
        self.deliveries = Deliveries(self)
        self.endpoints = Endpoints(self)
        self.project_events = ProjectEvents(self)
        self.delivery_queue = DeliveryQueue(self)
        self.pull_queue = PullQueue(self)
        self.announcements = Announcements(self)
        self.metrics = MetricsReader(self)
        self.redis_health = RedisHealth(self)
        self.deletion = Deletion(self, self.files, self.copies, self.deliveries)
