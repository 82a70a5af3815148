"""What the API answers to is what its contract says, no more and no less."""

from collections import Counter

from service.app import ROUTES
from tests.contract.checker import Contract


def test_routes_are_the_paths_of_the_contract(contract: Contract) -> None:
    routes = {(method, path) for method, path, *_ in ROUTES}
    assert routes - contract.operations() == set(), "not in api_spec/openapi.yaml"
    assert contract.operations() - routes == set(), "not in service.app.ROUTES"


def test_no_route_is_there_twice() -> None:
    counted = Counter((method, path) for method, path, *_ in ROUTES)
    assert [route for route, count in counted.items() if count > 1] == []
