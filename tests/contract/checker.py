"""Holds answers and webhooks against `api_spec/openapi.yaml`: what is not described there is a fault.

    contract.check_response("GET", "/v1/files", 200, response.headers, await response.read())
    contract.check_webhook(body)

and with the official SDK, so that every answer of a test is checked by the way:

    AsyncOpenAI(http_client=httpx2.AsyncClient(transport=CheckedTransport(contract)), …)

`contract` is a session fixture, synchronous: reading a file on the loop is an error in tests.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpcore2  # noqa: F401  httpx2 imports it at the first request, which reads files on the loop
import httpx2
import jsonschema
import pytest
import yaml
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tunehook.security.tls import ssl_context

SPEC = Path(__file__).parents[2] / "api_spec" / "openapi.yaml"
#: libyaml reads it ten times as fast; not all builds of PyYAML have it.
_LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
URI = "urn:tunehook:contract"
MOST_FAULTS_SHOWN = 20


def _is_whole_number(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema takes 1.0 for an integer. Typed clients (Go, Java, Node with zod) do not.
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole_number),
)


class Contract:
    """One OpenAPI 3.1 document and the questions that tests ask it. Paths are matched with their `/v1`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        resource = DRAFT202012.create_resource(document)
        self._registry: Registry[Any] = Registry().with_resource(URI, resource)
        # Most literal path first, so that /jobs/estimate is not taken for /jobs/{id}.
        self._templates = [
            (re.compile(_pattern(template)), template)
            for template in sorted(document["paths"], key=lambda path: (path.count("{"), path))
        ]

    @classmethod
    @functools.cache
    def load(cls) -> "Contract":
        """The project's own contract, read once per process. Blocks: not to be called first on the loop."""
        return cls(yaml.load(SPEC.read_text("utf-8"), Loader=_LOADER))  # noqa: S506  it is a safe loader

    def operations(self) -> set[tuple[str, str]]:
        """Every (METHOD, path template), such as `("GET", "/v1/files/{file_id}")`."""
        return {
            (method.upper(), path)
            for path, item in self.document["paths"].items()
            for method in item
            if method in METHODS
        }

    def template_of(self, path: str) -> str | None:
        """The path template that a request's path (its query is ignored) belongs to."""
        path = path.partition("?")[0]
        return next((template for pattern, template in self._templates if pattern.fullmatch(path)), None)

    def check_response(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Raises AssertionError with a line for each thing that is wrong. Bodies that are not JSON are only
        checked for their content type."""
        faults = list(self._response_faults(method.lower(), path, status, _lower(headers), body))
        _raise_if(faults, f"{method.upper()} {path} → {status}", body)

    def check_webhook(self, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Raises AssertionError unless `body` is an event of the contract; also looks at the three signature
        headers when `headers` are given (not at the signature itself)."""
        faults = list(self._webhook_faults(body, None if headers is None else _lower(headers)))
        _raise_if(faults, "webhook", body)

    def faults_of(self, pointer: Sequence[str], value: object) -> list[str]:
        """What is wrong with `value` by the schema at `pointer`, as `("components", "schemas", "Error")`."""
        errors = self._validator(tuple(pointer)).iter_errors(value)
        return [_readable(error) for error in sorted(errors, key=lambda error: list(map(str, error.path)))]

    def resolve(self, pointer: Sequence[str]) -> tuple[tuple[str, ...], Any]:
        """The node at `pointer` and the pointer where it really is, `$ref`s of the document followed."""
        node: Any = self.document
        at: tuple[str, ...] = ()
        for step in pointer:
            at, node = self._follow((*at, step), node[int(step) if isinstance(node, list) else step])
        return at, node

    def _follow(self, at: tuple[str, ...], node: Any) -> tuple[tuple[str, ...], Any]:
        # A schema with `$ref` is left to the validator, which knows what stands beside it.
        if isinstance(node, dict) and set(node) == {"$ref"} and "/schemas/" not in node["$ref"]:
            return self.resolve(node["$ref"].removeprefix("#/").split("/"))
        return at, node

    @functools.cache  # noqa: B019  the one contract lives as long as the tests
    def _validator(self, pointer: tuple[str, ...]) -> Any:
        fragment = "/".join(quote(step.replace("~", "~0").replace("/", "~1"), safe="~") for step in pointer)
        return _Validator({"$ref": f"{URI}#/{fragment}"}, registry=self._registry)

    def _response_faults(
        self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> Iterator[str]:
        template = self.template_of(path)
        item = self.document["paths"].get(template, {})
        if method not in item:
            # What the contract does not have may only be refused, and in the common shape.
            refusal = 404 if template is None else 405
            if status != refusal:
                yield f"the contract has no such operation, so the status must be {refusal}"
            yield from self._body_faults(("components", "schemas", "ErrorResponse"), body)
            return
        operation = ("paths", str(template), method, "responses")
        declared = self.resolve(operation)[1]
        key = next((key for key in (str(status), f"{status // 100}XX", "default") if key in declared), None)
        if key is None:
            yield f"status {status} is not declared, only {', '.join(sorted(declared))}"
            return
        at, response = self.resolve((*operation, key))
        yield from self._header_faults(at, response.get("headers", {}), headers)
        yield from self._content_faults(at, response.get("content", {}), headers, body)

    def _header_faults(
        self, at: tuple[str, ...], declared: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Iterator[str]:
        for name in declared:
            where, header = self.resolve((*at, "headers", name))
            if name.lower() in headers:
                for fault in self.faults_of((*where, "schema"), headers[name.lower()]):
                    yield f"header {name}: {fault}"
            elif header.get("required"):
                yield f"header {name} is missing"

    def _content_faults(
        self, at: tuple[str, ...], declared: Mapping[str, Any], headers: Mapping[str, str], body: bytes
    ) -> Iterator[str]:
        if not declared:
            if body:
                yield f"no body is declared, but {len(body)} bytes came"
            return
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type not in declared:
            yield f"Content-Type {content_type!r} is not declared, only {', '.join(sorted(declared))}"
        elif "schema" in declared[content_type]:
            yield from self._body_faults((*at, "content", content_type, "schema"), body)

    def _webhook_faults(self, body: bytes, headers: Mapping[str, str] | None) -> Iterator[str]:
        try:
            event = strict_json(body)
        except ValueError as error:
            yield f"the body is not JSON: {error}"
            return
        kind = event.get("type") if isinstance(event, dict) else None
        if kind not in self.document.get("webhooks", {}):
            yield f"type {kind!r} is not among the contract's webhooks"
            return
        schema = ("webhooks", str(kind), "post", "requestBody", "content", "application/json", "schema")
        yield from self.faults_of(self.resolve(schema)[0], event)
        if headers is None:
            return
        parameters = ("webhooks", str(kind), "post", "parameters")
        for index in range(len(self.resolve(parameters)[1])):
            at, parameter = self.resolve((*parameters, str(index)))
            if parameter["name"] not in headers:
                yield f"header {parameter['name']} is missing"
                continue
            for fault in self.faults_of((*at, "schema"), headers[parameter["name"]]):
                yield f"header {parameter['name']}: {fault}"

    def _body_faults(self, schema: tuple[str, ...], body: bytes) -> Iterator[str]:
        try:
            value = strict_json(body)
        except ValueError as error:
            yield f"the body is not JSON: {error}"
            return
        yield from self.faults_of(schema, value)


class CheckedTransport(httpx2.AsyncBaseTransport):
    """httpx2's own transport (or `inner`), every answer held against the contract before the SDK sees it.

    Streams and downloads are checked for status, headers and content type. The AssertionError comes out of
    the SDK's call as it is: openai 3.54 takes only httpx2's errors for a lost connection. `seen` lists what
    came by as (METHOD, path template, status), so that a test can ask whether every operation was tried.
    """

    def __init__(self, contract: Contract, inner: httpx2.AsyncBaseTransport | None = None) -> None:
        self.contract = contract
        self.seen: list[tuple[str, str | None, int]] = []
        self._inner = inner or httpx2.AsyncHTTPTransport(verify=ssl_context())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        path = request.url.raw_path.decode().partition("?")[0]  # the slashes in a model's name stay encoded
        self.seen.append((request.method, self.contract.template_of(path), response.status_code))
        is_json = response.headers.get("content-type", "").startswith("application/json")
        body = await response.aread() if is_json else b""
        try:
            self.contract.check_response(request.method, path, response.status_code, response.headers, body)
        except AssertionError:
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The project's contract."""
    return Contract.load()


def strict_json(body: bytes) -> Any:
    """JSON as RFC 8259 has it: UTF-8, no NaN or Infinity, no name twice in an object. Raises ValueError."""
    return json.loads(body.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_twins)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError(f"a member comes twice among {[name for name, _ in pairs]}")
    return members


def _pattern(template: str) -> str:
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]+\})", template))


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _readable(error: jsonschema.ValidationError) -> str:
    # An `anyOf` says only that nothing fits; the reason is the deepest of its causes.
    cause = best_match([error]) or error
    where = ".".join(str(step) for step in cause.absolute_path)
    message = cause.message if len(cause.message) < 300 else f"{cause.message[:200]} … {cause.message[-90:]}"
    return f"{where}: {message}" if where else message


def _raise_if(faults: list[str], what: str, body: bytes) -> None:
    if not faults:
        return
    lines = [f"  - {fault}" for fault in faults[:MOST_FAULTS_SHOWN]]
    if len(faults) > MOST_FAULTS_SHOWN:
        lines.append(f"  … and {len(faults) - MOST_FAULTS_SHOWN} more")
    shown = body[:500].decode("utf-8", "replace")
    raise AssertionError("\n".join([f"{what} breaks the contract:", *lines, f"  body: {shown}"]))
