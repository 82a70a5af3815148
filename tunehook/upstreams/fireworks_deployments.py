"""Fireworks' deployments: the client names them, so a GET decides whether one exists. Billed by GPU time.

A deployment has the tuned model as its base model (live merge), and scales to no replica while nothing asks it.
"""

from __future__ import annotations

from typing import Literal

from tunehook.errors import UpstreamError, UpstreamRefused, UpstreamUnknown
from tunehook.model.deployment import Deployed, Deployment
from tunehook.upstreams import fireworks_dialect as dialect
from tunehook.upstreams.members import Raw, name_in, rows, table, text, whole
from tunehook.upstreams.plain_http import PlainHttp

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


class FireworksDeployments:
    """The deployments of one account. `account`: the path of the account."""

    def __init__(self, name: str, http: PlainHttp, account: str) -> None:
        self._name, self._http, self._folder = name, http, f"{account}/deployments"

    async def create(self, wanted: Deployment) -> Deployed:
        """Creates the deployment under a name of ours, or returns the one that exists under it.

        Fireworks chooses one of the shapes that it has checked: without a shape most failed creates come.
        """
        body = {"baseModel": wanted.model, "displayName": wanted.id[:63], "deploymentShape": "default"}
        try:
            raw = await self._http.post(self._folder, body, {"deploymentId": dialect.named(wanted.name_mark)})
        except UpstreamError as error:
            if error.code != dialect.EXISTS:
                raise
            found = await self.find(wanted)
            if found is None:
                why = "it says that the deployment exists, and does not show it"
                raise UpstreamUnknown(upstream=self._name, why=why) from error
            return found
        return self._read(raw, wanted)

    async def find(self, wanted: Deployment) -> Deployed | None:
        try:
            raw = await self._http.get(f"{self._folder}/{dialect.named(wanted.name_mark)}")
        except UpstreamRefused as refused:
            if refused.status == 404:
                return None
            raise
        return self._read(raw, wanted)

    async def ours(self) -> dict[str, str]:
        """Returns those with a name as ours have, and their display names, until the list ends."""
        found: dict[str, str] = {}
        token = ""
        for _ in range(PAGES):
            query: dict[str, str | int] = {"pageSize": 200} | ({"pageToken": token} if token else {})
            answer = await self._http.get(self._folder, query)
            for row in rows(self._name, {"deployments": [], **answer}, "deployments"):
                name = name_in(row.get("name")) or ""
                if dialect.is_named(name.rpartition("/")[2]) and row.get("state") not in ("DELETING", "DELETED"):
                    found[name] = text(row.get("displayName")) or ""
            token = text(answer.get("nextPageToken")) or ""
            if not token:
                return found
        raise UpstreamUnknown(upstream=self._name, why=f"its list goes on after {PAGES} pages")

    async def remove(self, wanted: Deployment) -> None:
        """Asks for the removal, also of one that is in use: its owner asked for that."""
        path = f"{self._folder}/{dialect.named(wanted.name_mark)}"
        try:
            await self._http.send("DELETE", path, query={"ignoreChecks": "true"})
        except UpstreamRefused as refused:
            if refused.status != 404:
                raise

    def _read(self, raw: Raw, wanted: Deployment) -> Deployed:
        """Returns what is shown. Raises UpstreamUnknown for another deployment's, since a create may have worked."""
        name, state = name_in(raw.get("name")), text(raw.get("state"))
        if name is None or name.rpartition("/")[2] != dialect.named(wanted.name_mark):
            raise UpstreamUnknown(upstream=self._name, why="the answer is about another deployment")
        base = name_in(raw.get("baseModel"))
        if base is not None and base.rpartition("/")[2] != (wanted.model or "").rpartition("/")[2]:
            message = f"The upstream has a deployment {name} of another model. None was created."
            raise UpstreamRefused(message, upstream=self._name, status=409, code=dialect.EXISTS)
        return Deployed(
            there=name,
            state=_STATES.get(state or "", "deploying"),
            chat_model=f"{wanted.model}#{name}",
            reason=text(table(raw.get("status")).get("message")),
            accelerator=name_in(raw.get("acceleratorType")),
            accelerators=whole(raw.get("acceleratorCount")),
        )
