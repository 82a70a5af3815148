"""Fireworks' deployments: the client names them, so a GET decides whether one exists. Billed by GPU time.

A deployment has the tuned model as its base model (live merge), and scales to no replica while nothing asks it.
"""

from __future__ import annotations

from typing import Literal

from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnknown
from tunehook.model.deployment import Deployed, Deployment, Deploys
from tunehook.upstreams import fireworks_dialect as dialect
from tunehook.upstreams.fireworks_account import FireworksAccount
from tunehook.upstreams.members import Raw, name_in, rows, table, text, whole

#: Of deployments that are listed, with 200 on each.
PAGES = 20
#: `state` as the package fireworks-ai 1.2.30 has it. An unknown one is not taken for an end.
_STATES: dict[str, Literal["deploying", "running", "failed", "removing", "gone"]] = {
    "CREATING": "deploying",
    "READY": "running",
    "UPDATING": "running",
    "FAILED": "failed",
    "DELETING": "removing",
    "DELETED": "gone",
}


class FireworksDeployments(FireworksAccount):
    """The calls about deployments."""

    deploys = Deploys("named")

    async def deploy(self, wanted: Deployment) -> Deployed:
        """Creates the deployment under a name of ours, or returns the one that exists under it.

        Fireworks chooses one of the shapes that it has checked: without a shape most failed creates come.
        """
        body = {"baseModel": wanted.model, "displayName": wanted.id[:63], "deploymentShape": "default"}
        try:
            query = {"deploymentId": dialect.named(wanted.name_mark)}
            raw = await self._http.post(f"{self._account}/deployments", body, query)
        except UpstreamError as error:
            if error.code != dialect.EXISTS:
                raise
            found = await self._http.find(self._path(wanted))
            if found is None:
                why = "it says that the deployment exists, and does not show it"
                raise UpstreamUnknown(upstream=self.name, why=why) from error
            raw = found
        return self._read(raw, wanted)

    async def deployment(self, wanted: Deployment) -> Deployed | None:
        raw = await self._http.find(self._path(wanted))
        if raw is None:
            await self._check_account()
        return self._read(raw, wanted) if raw is not None else None

    def _path(self, wanted: Deployment) -> str:
        return f"{self._account}/deployments/{dialect.named(wanted.name_mark)}"

    async def listed_deployments(self) -> dict[str, str]:
        """Returns those with a name as ours have, and their display names, until the list ends."""
        found: dict[str, str] = {}
        token = ""
        for _ in range(PAGES):
            query: dict[str, str | int] = {"pageSize": 200} | ({"pageToken": token} if token else {})
            answer = await self._http.get(f"{self._account}/deployments", query)
            for row in rows(self.name, {"deployments": [], **answer}, "deployments"):
                name = name_in(row.get("name")) or ""
                if dialect.is_named(name.rpartition("/")[2]) and row.get("state") not in ("DELETING", "DELETED"):
                    found[name] = text(row.get("displayName")) or ""
            token = text(answer.get("nextPageToken")) or ""
            if not token:
                return found
        raise UpstreamUnknown(upstream=self.name, why=f"its list goes on after {PAGES} pages")

    async def undeploy(self, wanted: Deployment) -> None:
        """Asks for the removal, also of one that is in use: its owner asked for that."""
        try:
            await self._http.send("DELETE", self._path(wanted), query={"ignoreChecks": "true"})
        except UpstreamRefused as refused:
            if refused.status != 404:
                raise

    def _read(self, raw: Raw, wanted: Deployment) -> Deployed:
        """Returns what is shown. Raises UpstreamUnknown for another deployment's, since a create may have worked."""
        name, state = name_in(raw.get("name")), text(raw.get("state"))
        if name is None or name.rpartition("/")[2] != dialect.named(wanted.name_mark):
            raise UpstreamUnknown(upstream=self.name, why="the answer is about another deployment")
        base = name_in(raw.get("baseModel"))
        if base is not None and base.rpartition("/")[2] != (wanted.model or "").rpartition("/")[2]:
            message = f"The upstream has a deployment {name} of another model. None was created."
            raise UpstreamRefused(message, upstream=self.name, status=409, code=dialect.EXISTS)
        return Deployed(
            there=name,
            state=_STATES.get(state or "", "deploying"),
            chat_model=f"{wanted.model}#{name}",
            reason=text(table(raw.get("status")).get("message")),
            accelerator=name_in(raw.get("acceleratorType")),
            accelerators=whole(raw.get("acceleratorCount")),
        )
