"""Calls and members that a vendor's API lacks: refused in words that name the way out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

from tunehook.errors import UpstreamError, UpstreamUnsupported
from tunehook.model.deployment import Deployed, Deployment, Deploys
from tunehook.model.job import JobSpec, UpstreamJob
from tunehook.upstreams.protocol import News, Passed

_ONE_PIECE = "A file is sent in one piece."


def unsupported(name: str, what: str, instead: str, *, param: str | None = None) -> UpstreamError:
    """Returns the error for a call or member that this vendor's API lacks."""
    fields = {"upstream": name, "what": what, "instead": instead, "status": 501, "code": "not_supported_by_upstream"}
    return UpstreamUnsupported(param=param, **fields)


class NoDeployments:
    """For kinds whose models answer at once, or are deployed outside of Tunehook. `name`: the upstream's."""

    name: str
    deploys: Deploys | None = None

    async def deploy(self, wanted: Deployment) -> Deployed:
        raise self._no_deployments()

    async def deployment(self, wanted: Deployment) -> Deployed | None:
        raise self._no_deployments()

    async def undeploy(self, wanted: Deployment) -> None:
        raise self._no_deployments()

    async def listed_deployments(self) -> dict[str, str]:
        return {}

    def _no_deployments(self) -> UpstreamError:
        return unsupported(self.name, "deployments that can be made here", "Deploy the model at the vendor.")


class WholePages(ABC):
    """For kinds whose pages are read whole: those with few jobs."""

    @abstractmethod
    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]: ...

    async def news(self, after: str | None, known: Mapping[str, str]) -> News:
        found, more = await self.page(after)
        changed = [job for job in found if known.get(job.id) != job.fingerprint]
        unchanged = [job.id for job in found if known.get(job.id) == job.fingerprint]
        return News(changed, unchanged, found[-1].id if found and more else None)


class NoResponses:
    """For kinds whose API has no `/responses`, or where it was not tried. `name`: the upstream's."""

    name: str

    def respond(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        raise unsupported(self.name, "the Responses API", "Ask the model by POST /v1/chat/completions.", param="model")


class Lacking(NoResponses):
    """The calls that neither Fireworks nor Together has. `name`: the upstream's."""

    name: str
    deletes_models: bool = False

    async def delete_model(self, model: str) -> None:
        raise unsupported(self.name, "deletion of models from here", "Delete it at the vendor.")

    async def begin_parts(self, filename: str, size: int) -> str:
        raise unsupported(self.name, "uploads in parts", _ONE_PIECE)

    async def add_part(self, upload_id: str, part: bytes) -> str:
        raise unsupported(self.name, "uploads in parts", _ONE_PIECE)

    async def end_parts(self, upload_id: str, parts: list[str]) -> str:
        raise unsupported(self.name, "uploads in parts", _ONE_PIECE)

    async def find_alike(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Returns none: our mark is in the job's id or suffix, and another one there is another job's."""
        return []

    async def pause(self, job_id: str) -> UpstreamJob:
        raise unsupported(self.name, "pause for jobs", "Cancel the job, or let it run.")

    async def grade(self, verb: Literal["run", "validate"], body: dict[str, Any]) -> Passed:
        raise unsupported(self.name, "graders", "Use an upstream that has the method reinforcement.")
