"""An account at Fireworks: what the calls about its datasets, jobs and deployments work with."""

from __future__ import annotations

from tunehook.errors import UpstreamRefused, UpstreamUnauthorized
from tunehook.upstreams.plain_http import PlainHttp


class FireworksAccount:
    """`_account`: the path of the account."""

    name: str
    _http: PlainHttp
    _account_id: str
    _account: str

    async def _check_account(self) -> None:
        """Raises UpstreamUnauthorized if the key does not see the account: then no 404 proves that a job is absent."""
        try:
            await self._http.get(f"{self._account}/datasets", {"pageSize": 1})
        except UpstreamRefused as refused:
            message = (
                f"The upstream '{self.name}' does not give this key the account '{self._account_id}'. "
                "The operator of this deployment must correct the account's id or the key."
            )
            code = "wrong_account"
            raise UpstreamUnauthorized(message, upstream=self.name, status=refused.status, code=code) from refused
