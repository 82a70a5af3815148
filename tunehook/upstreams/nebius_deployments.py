"""Nebius' deployments: a checkpoint becomes a model that answers, billed by token and not by the hour.

Our name is a part of the name that Nebius gives it, `<base>-LoRa:<ours>-<4 characters>`. A lost answer is therefore
found in the list of models. A second one that came of it would cost nothing.
"""

from __future__ import annotations

from urllib.parse import quote

from tunehook.errors import UpstreamNotReady, UpstreamRefused, UpstreamUnknown
from tunehook.model.deployment import Deployed, Deployment, Deploys
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream
from tunehook.upstreams.members import Raw, digest, name_in, text, whole


def named(wanted: Deployment) -> str:
    """Returns our part of the model's name."""
    return f"th-{digest(wanted.name_mark, 16)}"


class NebiusDeployments(OpenAIUpstream):
    """OpenAI's wire format, with the calls about deployments, which are of version `v0`."""

    deploys = Deploys("listed", by_itself=True)

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        super().__init__(name, settings)
        self._models = f"{settings.base_url.rstrip('/').removesuffix('/v1')}/v0/models"

    async def deploy(self, wanted: Deployment) -> Deployed:
        """Makes a model of the last checkpoint. Raises UpstreamNotReady while the job shows none."""
        answer = await self._get(f"/fine_tuning/jobs/{wanted.upstream_job_id}/checkpoints", {"limit": 100})
        rows = answer.get("data")
        steps = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        steps = [row for row in steps if name_in(row.get("id"))]
        if not steps:
            message = f"The upstream '{self.name}' shows no checkpoint of the job yet. Retry later."
            raise UpstreamNotReady(message, upstream=self.name)
        last = max(steps, key=lambda row: whole(row.get("step_number")) or 0)
        body = {
            "source": f"{wanted.upstream_job_id}:{last['id']}",
            "base_model": wanted.base,
            "name": named(wanted),
            "description": wanted.id,
        }
        return self._read(await self._post(self._models, body), wanted)

    async def deployment(self, wanted: Deployment) -> Deployed | None:
        """Looks it up by its whole name once that is known; before, in the list of models."""
        if wanted.there is not None:
            try:
                answer = await self._get(f"{self._models}/{quote(wanted.there, safe='/:')}", {})
            except UpstreamRefused as refused:
                if refused.status == 404:
                    return None
                raise
            return self._read({"name": wanted.there, **answer}, wanted)
        answer = await self._get(self._models, {})
        found = answer.get("data", answer.get("models"))
        if not isinstance(found, list):
            raise UpstreamUnknown(upstream=self.name, why="the answer is not a list")
        ours = [row for row in found if isinstance(row, dict) and self._is_ours(row.get("name"), wanted)]
        return self._read(ours[0], wanted) if ours else None

    async def undeploy(self, wanted: Deployment) -> None:
        if wanted.there is None:
            return
        try:
            await self._delete(f"{self._models}/{quote(wanted.there, safe='/:')}")
        except UpstreamRefused as refused:
            if refused.status != 404:
                raise

    def _is_ours(self, name: object, wanted: Deployment) -> bool:
        return isinstance(name, str) and f":{named(wanted)}-" in name

    def _read(self, raw: Raw, wanted: Deployment) -> Deployed:
        """Returns what is shown; its first answers may have no status."""
        name, status = name_in(raw.get("name")), text(raw.get("status"))
        if name is None or not self._is_ours(name, wanted):
            raise UpstreamUnknown(upstream=self.name, why="the answer is about another model")
        return Deployed(
            there=name,
            state="running" if status == "active" else "failed" if status == "error" else "deploying",
            chat_model=name,
            reason=text(raw.get("status_reason")),
        )
