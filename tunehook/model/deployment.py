"""The deployment record: a tuned model's way to being callable at its upstream, and back. Pure.

    wanted → deploying → running → removing → gone
       └─────────┴──────────┴────────→ failed

A deployment may be asked for again once it is gone or has failed: under a new name, since a vendor may keep the old
one. One that failed at the vendor is removed there before it counts as failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from tunehook.errors import IllegalMove
from tunehook.model.job import JobError, Price, Waiting
from tunehook.model.record import Record


class DeploymentStage(StrEnum):
    WANTED = "wanted"  #: asked for; the vendor is not known to have it
    DEPLOYING = "deploying"  #: the vendor has it, and it does not answer yet
    RUNNING = "running"
    REMOVING = "removing"  #: until the vendor says that it is gone
    GONE = "gone"
    FAILED = "failed"


_S = DeploymentStage
#: All moves between stages. A deployment may also change within its stage.
ARROWS: Mapping[DeploymentStage, frozenset[DeploymentStage]] = {
    _S.WANTED: frozenset({_S.DEPLOYING, _S.RUNNING, _S.REMOVING, _S.FAILED}),
    _S.DEPLOYING: frozenset({_S.RUNNING, _S.REMOVING, _S.GONE}),
    _S.RUNNING: frozenset({_S.DEPLOYING, _S.REMOVING, _S.GONE}),
    _S.REMOVING: frozenset({_S.GONE, _S.FAILED}),
    _S.GONE: frozenset({_S.WANTED}),
    _S.FAILED: frozenset({_S.WANTED, _S.REMOVING}),
}
#: Nothing is left at the vendor, and nothing is done.
OVER = frozenset({_S.GONE, _S.FAILED})


class Deployment(Record):
    """The deployment of one job's model. Its id is the job's. Times are unix seconds."""

    id: str
    project: str
    stage: DeploymentStage = DeploymentStage.WANTED
    upstream: str
    upstream_job_id: str
    model: str | None = None  #: None where the upstream names a model when it is deployed
    base: str
    mark: str  #: of the job at its upstream
    round: int = 1  #: how often it was asked for anew: part of its name
    asked_at: int
    tried_at: int | None = None  #: the last create
    there: str | None = None  #: its name at the vendor, once known
    chat_model: str | None = None  #: the name by which the running model is asked
    running_at: int | None = None
    searches: int = 0  #: looks in a row that did not find it
    accelerator: str | None = None  #: as the vendor calls it, and how many
    accelerators: int | None = None
    price: Price | None = None  #: of one replica an hour, where it is known
    waiting: Waiting | None = None
    error: JobError | None = None

    @property
    def name_mark(self) -> str:
        """What its name at the vendor is made of, so that a lost answer is found by its name."""
        return f"{self.mark}#{self.round}"

    def moved(self, target: DeploymentStage, **changes: Any) -> Deployment:
        """Returns the deployment moved to a stage, or changed within its own. Raises IllegalMove."""
        if target != self.stage and target not in ARROWS[self.stage]:
            raise IllegalMove(source=self.stage, target=target)
        return self.model_copy(update={"stage": target, "waiting": None, "searches": 0, **changes})

    def again(self, now: int) -> Deployment:
        """Returns the deployment asked for anew, under another name."""
        fresh = {"there": None, "chat_model": None, "running_at": None, "error": None, "tried_at": None}
        return self.moved(DeploymentStage.WANTED, round=self.round + 1, asked_at=now, **fresh)


_SHOWN = {_S.WANTED: "deploying", _S.DEPLOYING: "deploying", _S.RUNNING: "callable"}


def shown_state(deployment: Deployment | None) -> str | None:
    """Returns what a job shows of its model's deployment; None: it needs one."""
    return _SHOWN.get(deployment.stage) if deployment else None


#: How a create of a deployment whose answer was lost is decided. `named`: one look is proof. `listed`: its name is
#: a part of the vendor's, so the vendor's list is searched until the settle time is over.
Finding = Literal["named", "listed"]


@dataclass(frozen=True)
class Deploys:
    """How a kind of upstream deploys. `by_itself`: done after success, since it costs nothing by the hour."""

    finding: Finding
    by_itself: bool = False


@dataclass(frozen=True)
class Deployed:
    """A deployment as its vendor shows it. `there`: its name at the vendor. `chat_model`: by which it is asked."""

    there: str
    state: Literal["deploying", "running", "failed", "removing", "gone"]
    chat_model: str | None = None
    reason: str | None = None
    accelerator: str | None = None
    accelerators: int | None = None
