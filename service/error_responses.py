"""Turns errors into HTTP answers: one table from error class to (status, type, code). A test holds it complete."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from service.unknown_urls import hint
from tunehook import errors
from tunehook.api_keys import BootstrapKeyMalformed, KeyUnknown
from tunehook.errors import TunehookError
from tunehook.openai_format.webhooks import error_object
from tunehook.security.allow_list import AllowListMalformed
from tunehook.security.encryption import EncryptionKeyMissing, SecretUnreadable
from tunehook.security.signature import SecretMalformed, SignatureRejected
from tunehook.security.ssrf import AddressRefused
from tunehook.settings import SettingsError

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
INVALID, SERVER, UPSTREAM = "invalid_request_error", "server_error", "upstream_error"
#: The class itself or the nearest of its bases decides. `None` as code: the error brings its own.
TABLE: dict[type[TunehookError], tuple[int, str, str | None]] = {
    errors.InvalidBody: (400, INVALID, "invalid_json"),
    errors.InvalidForm: (400, INVALID, "invalid_form"),
    errors.InvalidParameter: (400, INVALID, "invalid_value"),
    errors.MissingParameter: (400, INVALID, "missing_required_parameter"),
    errors.UnknownParameter: (400, INVALID, "unknown_parameter"),
    errors.UnknownUpstream: (400, INVALID, "unknown_upstream"),
    errors.ModelUnknown: (400, INVALID, "model_not_found"),
    errors.FileUnusable: (400, INVALID, "invalid_file"),
    errors.TooFewExamples: (400, INVALID, "invalid_n_examples"),
    errors.CostAboveLimit: (400, INVALID, "cost_above_limit"),
    errors.NoEstimate: (400, INVALID, "no_estimate"),
    errors.TooManyEndpoints: (400, INVALID, "too_many_webhook_endpoints"),
    errors.TooManyPullEndpoints: (400, INVALID, "too_many_pull_endpoints"),
    errors.TestUnanswered: (400, INVALID, "webhook_test_unanswered"),
    errors.JobAlreadyEnded: (400, INVALID, "job_already_ended"),
    errors.ModelNotDeletable: (400, INVALID, "model_not_deletable"),
    errors.JobNotSteered: (400, INVALID, "job_not_steered"),
    errors.UploadNotOpen: (400, INVALID, "upload_not_open"),
    errors.TooManyUploads: (400, INVALID, "too_many_uploads"),
    errors.TooManyParts: (400, INVALID, "too_many_parts"),
    errors.UploadIncomplete: (400, INVALID, "upload_incomplete"),
    errors.MissingKey: (401, INVALID, "invalid_api_key"),
    errors.WrongKey: (401, INVALID, "invalid_api_key"),
    errors.ScopeMissing: (403, INVALID, "missing_scope"),
    SignatureRejected: (401, INVALID, "invalid_signature"),
    KeyUnknown: (404, INVALID, "key_not_found"),
    errors.JobNotFound: (404, INVALID, "fine_tune_not_found"),
    errors.FileNotFound: (404, INVALID, "file_not_found"),
    errors.ModelNotFound: (404, INVALID, "model_not_found"),
    errors.UploadNotFound: (404, INVALID, "upload_not_found"),
    errors.UpstreamWebhookUnknown: (404, INVALID, "unknown_upstream"),
    errors.FileContentGone: (404, INVALID, "file_content_gone"),
    errors.NoReport: (404, INVALID, "no_report"),
    errors.EndpointNotFound: (404, INVALID, "webhook_endpoint_not_found"),
    errors.DeliveryNotFound: (404, INVALID, "delivery_not_found"),
    errors.RouteNotFound: (404, INVALID, "unknown_url"),
    errors.MethodNotAllowed: (405, INVALID, "method_not_allowed"),
    errors.TooSlow: (408, INVALID, "request_timeout"),
    errors.EndpointDisabled: (409, INVALID, "webhook_endpoint_disabled"),
    errors.DeliveryWithoutReceiver: (409, INVALID, "delivery_without_receiver"),
    errors.PullNameTaken: (409, INVALID, "pull_name_taken"),
    errors.NotPulled: (409, INVALID, "not_a_pull_endpoint"),
    errors.NotPending: (409, INVALID, "delivery_not_pending"),
    errors.ModelNotTrained: (409, INVALID, "model_not_trained"),
    errors.ModelInUse: (409, INVALID, "model_in_use"),
    errors.NotDeployed: (409, INVALID, "model_not_deployed"),
    errors.FileInUse: (409, INVALID, "file_in_use"),
    errors.NotAwaiting: (409, INVALID, "not_awaiting_approval"),
    errors.JobTaken: (409, INVALID, "job_taken"),
    errors.RetrainDiffers: (409, INVALID, "retrain_differs"),
    errors.FileNotFetchedYet: (409, INVALID, "file_not_fetched_yet"),
    errors.FileNotChecked: (409, INVALID, "file_not_checked"),
    errors.Conflict: (409, INVALID, "conflict"),
    errors.TooLarge: (413, INVALID, "request_too_large"),
    errors.MalformedRequest: (400, INVALID, "malformed_request"),
    errors.ExpectationUnknown: (417, INVALID, "expectation_unknown"),
    errors.WrongMediaType: (415, INVALID, "unsupported_media_type"),
    errors.IdempotencyMismatch: (422, INVALID, "idempotency_key_reused"),
    errors.OverBudget: (429, INVALID, "insufficient_quota"),
    errors.LimitReached: (429, INVALID, "project_limit_reached"),
    errors.RateReached: (429, INVALID, "rate_limit_exceeded"),
    errors.TooManyTests: (429, INVALID, "too_many_tests"),
    errors.TooManyStreams: (429, INVALID, "too_many_streams"),
    errors.RecordUnreadable: (500, SERVER, "record_unreadable"),
    errors.DataDirUnavailable: (503, SERVER, "data_dir_unavailable"),
    errors.DatasetUnread: (503, SERVER, "dataset_unread"),
    errors.JobsNotIndexed: (503, SERVER, "jobs_being_indexed"),
    errors.StoreNearlyFull: (503, SERVER, "store_nearly_full"),
    errors.StoreNotDurable: (503, SERVER, "store_not_durable"),
    errors.StoreUnavailable: (503, SERVER, "store_unavailable"),
    errors.CommitUnconfirmed: (503, SERVER, "commit_unconfirmed"),
    errors.UpstreamRefused: (502, UPSTREAM, None),
    errors.UpstreamUnsupported: (400, INVALID, "not_supported_by_upstream"),
    errors.UpstreamNotReady: (503, UPSTREAM, "upstream_not_ready"),
    errors.UpstreamUnauthorized: (502, UPSTREAM, "upstream_unauthorized"),
    errors.UpstreamBusy: (503, UPSTREAM, None),
    errors.UpstreamUnreachable: (502, UPSTREAM, "upstream_unreachable"),
    errors.UpstreamUnknown: (502, UPSTREAM, "upstream_no_answer"),
}
#: Never the answer to a request: they stop a start, a command or a step, or are stored with a delivery.
NOT_HTTP: frozenset[type[TunehookError]] = frozenset(
    {
        errors.StoreMisconfigured,
        AddressRefused,  # becomes InvalidParameter where a URL is given
        AllowListMalformed,
        BootstrapKeyMalformed,
        SecretMalformed,
        SecretUnreadable,
        SettingsError,
        EncryptionKeyMissing,
    }
)
#: OpenAI's names for the parameter of these errors.
_PARAMS: dict[type[TunehookError], str] = {errors.JobNotFound: "fine_tune_id", errors.FileNotFound: "id"}
#: SDKs retry these unless told not to. Of our answers, a retry helps with 503 alone.
_NO_RETRY = frozenset({408, 409, 429})
#: Of the answer's header, the body of an error, and the log.
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
#: For the log.
ERROR_CODE: web.ResponseKey[str] = web.ResponseKey("error_code", str)


def row_of(kind: type[TunehookError]) -> tuple[int, str, str | None] | None:
    return next((TABLE[base] for base in kind.__mro__ if base in TABLE), None)


def answer(error: TunehookError, request_id: str | None = None) -> web.Response:
    """Returns the error in OpenAI's shape, with the id of its request beside it."""
    row = row_of(type(error))
    if row is None:
        log.error("error_responses.TABLE has no row for %s", type(error).__name__, exc_info=error)
        row = (500, SERVER, "internal_error")
    status, kind, code = row
    param = (error.param or _PARAMS.get(type(error), "")).encode(errors="replace").decode() or None
    message = error.message.encode(errors="replace").decode()  # a form's field may be called by any bytes
    body = error_object(message, kind=kind, param=param, code=code or getattr(error, "code", None))
    response = web.json_response(_with_id(body, request_id), status=status)
    response[ERROR_CODE] = body["error"]["code"] or ""
    if isinstance(error, errors.RateReached | errors.JobsNotIndexed):
        response.headers["retry-after"] = str(error.fields["seconds"])
    elif status in _NO_RETRY and not isinstance(error, errors.FileNotFetchedYet):
        response.headers["x-should-retry"] = "false"
    if status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


def _with_id(body: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    return body | {"request_id": request_id} if request_id else body


BEGUN: web.RequestKey[bool] = web.RequestKey("begun", bool)


async def note_begun(request: web.Request, response: web.StreamResponse) -> None:
    """Notes that the answer has begun. A signal handler (`on_response_prepare`)."""
    request[BEGUN] = True


@web.middleware
async def broken_off(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Ends the connection when an error comes after an answer has begun (a stream, a file).

    A second head would be read as the rest of the body, or as the answer to the next request.
    """
    try:
        return await handler(request)
    except Exception as error:
        if not request.get(BEGUN) or _client_is_gone(request, error):
            raise
        if request.transport is not None:
            request.transport.abort()
        raise BrokenOff(str(error)) from error


class BrokenOff(ConnectionResetError):
    """An error came after the answer had begun, so the connection was closed."""


def _client_is_gone(request: web.Request, error: Exception) -> bool:
    """Whether the error is that the client has closed the connection."""
    return isinstance(error, OSError) and (request.transport is None or request.transport.is_closing())


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what a handler raises into an answer. An unexpected error is logged and answered with 500."""
    request_id = request.get(REQUEST_ID)
    try:
        return await handler(request)
    except TunehookError as error:
        if isinstance(error, errors.DataDirUnavailable):
            log.warning("the data directory cannot be used: %s", error.detail)
        return answer(error, request_id)
    except web.HTTPNotFound:
        unknown = errors.RouteNotFound(method=request.method, path=request.path[:200], hint=await hint(request))
        return answer(unknown, request_id)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        refused = errors.MethodNotAllowed(method=request.method, path=request.path[:200], allowed=allowed)
        response = answer(refused, request_id)
        response.headers["allow"] = allowed
        return response
    except web.HTTPRequestEntityTooLarge:
        return answer(errors.TooLarge(limit=request.client_max_size), request_id)
    except Exception as error:
        if _client_is_gone(request, error):
            raise error if isinstance(error, ConnectionError) else ConnectionResetError(str(error)) from error
        log.exception("%s %s failed", request.method, request.path[:200])
        body = error_object(
            "An unexpected error occurred. The log of the service has the details.",
            kind=SERVER,
            param=None,
            code="internal_error",
        )
        return web.json_response(_with_id(body, request_id), status=500)
