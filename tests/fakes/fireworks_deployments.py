"""Deployments as the package fireworks-ai 1.2.30 describes them: named by the client, softly deleted.

Its official client is driven against them by tests/compat/check_fireworks.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.vendor_faults import Handler, json_answer, json_body

Refusal = Callable[[int, str], web.Response]


@dataclass
class FakeDeployments:
    """`looks`: how often one that is created, or removed, is shown so before it has become so."""

    account: str
    refusal: Refusal
    now: Callable[[], str]
    looks: int = 1
    created: int = 0  #: deployments ever made
    fails: str | None = None  #: a new deployment becomes FAILED with this message
    unservable: set[str] = field(default_factory=set)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    _left: dict[str, int] = field(default_factory=dict)

    def live(self) -> list[dict[str, Any]]:
        """Those that are billed: all that are not deleted."""
        return [found for found in self.shown.values() if found["state"] != "DELETED"]

    def routes(self, folder: str) -> list[tuple[str, str, str, Handler]]:
        return [
            ("create deployment", "POST", folder, self._create),
            ("list deployments", "GET", folder, self._list),
            ("get deployment", "GET", f"{folder}/{{id}}", self._get),
            ("delete deployment", "DELETE", f"{folder}/{{id}}", self._delete),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        deployment = request.query.get("deploymentId", f"made-{len(self.shown)}")
        if request.match_info["account"] != self.account:
            return self.refusal(403, "Not permitted")
        if deployment in self.shown:
            return self.refusal(409, f"Deployment {deployment} already exists")
        if body["baseModel"] in self.unservable:
            return self.refusal(400, f"Model {body['baseModel']} cannot be deployed")
        if "deploymentShape" not in body:  # the package: always pass it, the way without may be taken away
            return self.refusal(400, "deployment_shape is required")
        self.created += 1
        self._left[deployment] = self.looks
        self.shown[deployment] = {
            "name": f"accounts/{self.account}/deployments/{deployment}",
            "state": "CREATING",
            "createTime": self.now(),
            "acceleratorType": "NVIDIA_A100_80GB",
            "acceleratorCount": 2,
            **body,
            "deploymentShape": "accounts/fireworks/deploymentShapes/default/versions/1",
        }
        return json_answer(self.shown[deployment])

    async def _list(self, request: web.Request) -> web.Response:
        """Pages in the order in which they were made; deleted ones are shown only when asked for."""
        if request.match_info["account"] != self.account:
            return self.refusal(403, "Not permitted")
        every = request.query.get("showDeleted") == "true"
        found = list(self.shown.values()) if every else self.live()
        begin, size = int(request.query.get("pageToken") or 0), min(200, int(request.query.get("pageSize", 50)))
        following = str(begin + size) if begin + size < len(found) else ""
        page = found[begin : begin + size]
        return json_answer({"deployments": page, "nextPageToken": following, "totalSize": len(found)})

    async def _get(self, request: web.Request) -> web.Response:
        deployment = request.match_info["id"]
        found = self.shown.get(deployment)
        if request.match_info["account"] != self.account:
            return self.refusal(403, "Not permitted")
        if found is None:
            return self.refusal(404, f"Deployment {deployment} not found")
        if found["state"] in ("CREATING", "DELETING"):
            self._left[deployment] -= 1
            if self._left[deployment] < 0:
                found["state"] = {"CREATING": "FAILED" if self.fails else "READY", "DELETING": "DELETED"}[
                    found["state"]
                ]
                found["status"] = {"code": "INTERNAL", "message": self.fails} if self.fails else {"code": "OK"}
        return json_answer(found)

    async def _delete(self, request: web.Request) -> web.Response:
        deployment = request.match_info["id"]
        found = self.shown.get(deployment)
        if found is None or found["state"] == "DELETED":
            return self.refusal(404, f"Deployment {deployment} not found")
        if request.query.get("ignoreChecks") != "true":
            return self.refusal(400, "The deployment is in use")
        self._left[deployment] = self.looks
        found["state"] = "DELETING"
        return json_answer({})
