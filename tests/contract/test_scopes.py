"""Each route needs the scope that the contract names for it."""

import pytest

from service.app import ROUTES
from service.scopes import scope_of
from tests.contract.checker import Contract
from tunehook.model.api_key import Scope

KEYED = sorted((route.method, route.path) for route in ROUTES if route.path.startswith("/v1/"))
LEASES = "/v1/webhook_endpoints/{webhook_endpoint_id}/stream"  # keeps deliveries from other readers, so it is no look
SIGNED = {("POST", "/v1/upstreams/{name}/events")}


@pytest.mark.parametrize(("method", "path"), KEYED)
def test_a_route_needs_the_scope_of_the_contract(method: str, path: str, contract: Contract) -> None:
    operation = contract.document["paths"][path][method.lower()]
    if (method, path) in SIGNED:
        assert operation["security"] == [{"upstreamSignature": []}]
        return
    wanted = [{"apiKey": [scope_of(method, path).value]}]
    assert operation.get("security") == wanted, "write `security` as service/scopes.py has it"
    assert operation["responses"].keys() & {"403", "4XX"}, 'add "403": {$ref: "#/components/responses/Forbidden"}'


def test_a_look_needs_no_more_than_read() -> None:
    looks = {
        scope_of(method, path) for method, path in KEYED if method == "GET" and "/admin/" not in path and path != LEASES
    }
    assert looks == {Scope.READ}
    changes = {scope_of(method, path) for method, path in KEYED if method == "DELETE"}
    assert changes == {Scope.WRITE, Scope.WEBHOOKS, Scope.ADMIN}
