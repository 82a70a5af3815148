"""The store against a model of the story: whatever workers, clocks and clients do in whatever order, the two agree."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fakes.valkey import Valkey
from tunehook.errors import Conflict, IllegalMove, LeaseLost, LeaseTaken, RecordTooNew, RevisionChanged
from tunehook.model.job import FileRef, Job, JobSpec, Stage, may_move
from tunehook.model.record import new_id
from tunehook.model.webhook import Event
from tunehook.store.engine import keys
from tunehook.store.engine.commit import AlreadyThere
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord
from tunehook.store.store import Store

T = TypeVar("T")
FAR = 600.0
NEWER = 99


class Expected:
    """What the model knows of a job."""

    def __init__(self) -> None:
        self.stage = Stage.ACCEPTED
        self.revision = 1
        self.holder: str | None = None  #: token of the lease
        self.woken_in_lease = False
        self.intent = False
        self.cancel = False
        self.parked = False
        self.claims = 0
        self.version = 1
        self.events = 0


class StoreMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")
    reads = Bundle("reads")  #: (job id, record as somebody once read it)
    leases = Bundle("leases")  #: (job id, lease as somebody once took it)

    def __init__(self, url: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self.store = Store.connect(url)
        self.run(self.store.redis.flushdb())
        self.model: dict[str, Expected] = {}
        self.by_key: dict[str, str] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.close())
        self._runner.close()

    # ---- clients

    @rule(target=jobs, key=st.sampled_from(["", "a", "b"]))
    def submit(self, key: str) -> Any:
        job = _job()
        change = self.store.jobs.submission(job)
        change.needs.clear()  # its files are another story
        guard = keys.idempotency("p", key)
        if key:
            change.guards.append((guard, ""))
            change.do("SET", guard, job.id, "EX", 60)
        try:
            self.run(self.store.commit(change))
        except AlreadyThere as there:
            earlier: str | None = there.value
        else:
            earlier = None
        assert earlier == (self.by_key.get(key) if key else None)
        if earlier:
            return multiple()
        if key:
            self.by_key[key] = job.id
        self.model[job.id] = Expected()
        return job.id

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        expected = self.model[job_id]
        said = self.run(self.store.jobs.mark_cancelled(job_id))
        assert said == expected.stage
        if expected.stage is not Stage.SETTLED:
            if not expected.cancel:
                expected.claims = 0
            expected.cancel, expected.parked = True, False
            self._wakes(expected)

    # ---- workers

    @rule(target=reads, job_id=jobs)
    def read(self, job_id: str) -> Any:
        expected = self.model[job_id]
        try:
            record = self.run(self.store.jobs.read(job_id))
        except RecordTooNew:
            assert expected.version == NEWER
            return multiple()
        assert expected.version == 1
        assert (record.job.stage, record.revision) == (expected.stage, expected.revision)
        assert (record.intent_ms is not None, record.cancel_requested_at is not None) == (
            expected.intent,
            expected.cancel,
        )
        return job_id, record

    @rule(target=leases, job_id=jobs)
    def take(self, job_id: str) -> Any:
        expected = self.model[job_id]
        lease = Lease(self.store, f"job:{job_id}")
        try:
            self.run(lease.take())
        except LeaseTaken:
            assert expected.holder is not None
            expected.claims = 0
            return multiple()
        assert expected.holder is None
        expected.holder, expected.woken_in_lease = lease.token, False
        return job_id, lease

    @rule(held=consumes(leases))
    def give_back(self, held: tuple[str, Lease]) -> None:
        job_id, lease = held
        expected = self.model[job_id]
        self.run(lease.give_back())
        if expected.holder == lease.token:
            if expected.woken_in_lease:
                assert self._due_in(job_id) <= 0
            expected.holder, expected.woken_in_lease = None, False

    @rule(job_id=jobs)
    def the_holder_dies(self, job_id: str) -> None:
        self.run(self.store.redis.delete(keys.lease(f"job:{job_id}")))
        self.model[job_id].holder = None

    @rule(
        seen=reads,
        held=leases,
        target_stage=st.sampled_from(Stage),
        stamp=st.sampled_from(["", "set", "clear"]),
        pause=st.sampled_from([0.0, FAR]),
    )
    def commit(
        self, seen: tuple[str, JobRecord], held: tuple[str, Lease], target_stage: Stage, stamp: str, pause: float
    ) -> None:
        job_id, record = seen
        if held[0] != job_id:
            return
        expected, lease = self.model[job_id], held[1]
        change = record.change(record.job.model_copy(update={"stage": target_stage}), lease)
        settles = target_stage is Stage.SETTLED and expected.stage is not Stage.SETTLED
        change.due(record.member, None if target_stage is Stage.SETTLED else pause)
        if stamp:
            (change.stamp if stamp == "set" else change.clear).append("intent")
        if settles:
            event = Event(id=new_id("evt_"), type="t", project="p", job_id=job_id, created_at=int(time.time()), body="")
            self.store.deliveries.outbox(change, event, [])
        try:
            self.run(self.store.commit(change))
        except Conflict as conflict:
            self._refused(conflict, expected, record, lease, target_stage)
            return
        assert (record.revision, expected.version) == (expected.revision, 1)
        assert lease.token == expected.holder
        assert may_move(expected.stage, target_stage)
        expected.stage, expected.revision = target_stage, expected.revision + 1
        expected.claims, expected.parked = 0, False
        expected.events += settles
        if stamp:
            expected.intent = stamp == "set"
        if expected.woken_in_lease or (pause == 0 and target_stage is not Stage.SETTLED):
            assert self._due_in(job_id) <= 0

    def _refused(
        self, conflict: Conflict, expected: Expected, record: JobRecord, lease: Lease, target_stage: Stage
    ) -> None:
        """In the order in which the script asks."""
        match conflict:
            case RevisionChanged():
                assert record.revision != expected.revision
            case RecordTooNew():
                assert expected.version == NEWER
            case LeaseLost():
                assert lease.token != expected.holder
            case IllegalMove():
                assert not may_move(expected.stage, target_stage)
            case _:
                raise conflict

    # ---- clocks and others

    @rule(job_id=jobs)
    def wake(self, job_id: str) -> None:
        self.run(self.store.wake(f"job:{job_id}"))
        self._wakes(self.model[job_id])
        self.model[job_id].parked = False

    @precondition(lambda self: self.model)
    @rule(job_id=jobs, times=st.sampled_from([1, 25]))
    def time_passes_and_the_clock_claims(self, job_id: str, times: int) -> None:
        member, expected = f"job:{job_id}", self.model[job_id]
        for _ in range(times):
            at = self.run(self.store.redis.zadd(keys.due("steps"), {member: 0}, xx=True, ch=True))
            claimed = self.run(self.store.claim("steps", 1000))
            if member in claimed.parked:
                assert expected.claims == 20
                expected.parked, expected.claims = True, 0
            elif member in claimed.members:
                expected.claims += 1
                assert self._due_in(job_id) > 15
            else:
                assert not at
            for other in (*claimed.members, *claimed.parked):
                if other != member:
                    self.model[other.removeprefix("job:")].claims = self._claims(other)

    @rule(job_id=jobs)
    def a_newer_worker_writes_it(self, job_id: str) -> None:
        self.run(self.store.redis.hset(keys.job(job_id), "v", NEWER))
        self.model[job_id].version = NEWER

    # ---- what always holds

    @invariant()
    def nothing_unsettled_is_forgotten(self) -> None:
        for job_id, expected in self.model.items():
            if expected.stage is not Stage.SETTLED:
                due = self.run(self.store.redis.zscore(keys.due("steps"), f"job:{job_id}"))
                parked = self.run(self.store.redis.zscore(keys.PARKED, f"job:{job_id}"))
                assert due is not None or parked is not None, job_id

    @invariant()
    def store_and_model_agree(self) -> None:
        counted: dict[str, int] = {}
        for job_id, expected in self.model.items():
            fields = self.run(self.store.redis.hgetall(keys.job(job_id)))
            assert (fields["stage"], int(fields["rev"])) == (expected.stage, expected.revision)
            assert ("intent" in fields, "cancel" in fields) == (expected.intent, expected.cancel)
            counted[expected.stage] = counted.get(expected.stage, 0) + 1
        stages = self.run(self.store.redis.hgetall(keys.STAGES))
        assert {stage: int(count) for stage, count in stages.items() if int(count)} == counted

    @invariant()
    def each_end_was_told_once(self) -> None:
        events = self.run(self.store.redis.keys(keys.event("*")))
        ended = sum(expected.stage is Stage.SETTLED for expected in self.model.values())
        assert len(events) == ended == sum(expected.events for expected in self.model.values())

    # ----

    def _wakes(self, expected: Expected) -> None:
        if expected.holder is not None:
            expected.woken_in_lease = True

    def _due_in(self, job_id: str) -> float:
        at = self.run(self.store.redis.zscore(keys.due("steps"), f"job:{job_id}"))
        assert at is not None
        return (float(at) - self.run(self.store.now_ms())) / 1000

    def _claims(self, member: str) -> int:
        return int(self.run(self.store.redis.hget(keys.CLAIMS, member)) or 0)


def _job() -> Job:
    return Job(
        id=new_id("ftjob-"),
        project="p",
        key_id="k",
        created_at=1,
        spec=JobSpec(model="m", training_file="file-x", seed=1),
        upstream="openai",
        training=FileRef(id="file-x", sha256="0" * 64, bytes=1),
    )


def test_the_store_does_what_the_story_says(valkey: Valkey) -> None:
    class Here(StoreMachine):
        def __init__(self) -> None:
            super().__init__(valkey.url)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
