"""Which scope each route needs: one table, which the contract's `security` repeats and a test compares."""

from __future__ import annotations

from functools import cache

from tunehook.errors import ScopeMissing
from tunehook.model.api_key import ApiKey, Scope

#: (methods, beginning of the path, scope). The first row that fits counts.
TABLE: tuple[tuple[str, str, Scope], ...] = (
    ("GET POST DELETE", "/v1/admin/", Scope.ADMIN),
    # It leases deliveries: one that reads them keeps them from others.
    ("GET", "/v1/webhook_endpoints/{webhook_endpoint_id}/stream", Scope.WEBHOOKS),
    ("GET", "/v1/", Scope.READ),
    # They make nothing and cost nothing.
    ("POST", "/v1/fine_tuning/jobs/estimate", Scope.READ),
    ("POST", "/v1/fine_tuning/alpha/graders/validate", Scope.READ),
    ("POST", "/v1/chat/", Scope.CHAT),
    ("POST", "/v1/responses", Scope.CHAT),
    ("POST DELETE", "/v1/webhook_endpoints", Scope.WEBHOOKS),
    ("POST", "/v1/callback_secret/", Scope.WEBHOOKS),
    ("POST", "/v1/deliveries/", Scope.WEBHOOKS),
    ("POST DELETE", "/v1/", Scope.WRITE),
)


@cache  # a key for each route: `path` is its pattern
def scope_of(method: str, path: str) -> Scope:
    """Returns the scope that a route below /v1 needs; a method that no row names needs `write`."""
    rows = (scope for methods, prefix, scope in TABLE if path.startswith(prefix) and method in methods.split())
    return next(rows, Scope.WRITE)


def check_scope(caller: ApiKey, method: str, path: str) -> None:
    """Raises ScopeMissing, which names the scope."""
    scope = scope_of(method, path)
    if scope in caller.scopes:
        return
    if caller.is_admin:
        hint = "An admin key may call /v1/admin/* alone; use a key of the project."
    elif scope is Scope.ADMIN:
        hint = "Only an admin key has it; `tunehook keys create --admin` on the server makes the first one."
    else:
        hint = f"`tunehook keys change {caller.id} --scopes …` gives it one."
    raise ScopeMissing(scope=scope.value, has=" ".join(caller.scopes), hint=hint)
