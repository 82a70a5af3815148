"""What can go wrong, as a tree. A class's docstring is its message; `{names}` in it are filled when it is raised.

TunehookError
├── RequestError                what a client asked for cannot be done as asked
│   ├── InvalidBody             the body is not the JSON that we can work on
│   ├── InvalidParameter        one member of the request is wrong
│   │   ├── MissingParameter, UnknownParameter
│   │   └── UnknownUpstream, ModelUnknown
│   ├── MissingKey, WrongKey    who are you?
│   ├── NotFound                no such thing, or not yours
│   │   ├── JobNotFound, FileNotFound, ModelNotFound, UploadNotFound, RouteNotFound
│   │   ├── UpstreamHookUnknown
│   │   ├── EndpointNotFound, DeliveryNotFound
│   │   └── FileContentGone, NoReport
│   ├── MethodNotAllowed        that path, but not so
│   ├── FileUnusable            a file that cannot be trained on
│   │   └── TooFewExamples
│   ├── CostAboveLimit          the job would cost more than its request allows, or nobody knows
│   ├── FileInUse               a live job still needs it
│   ├── TooLarge                more bytes than we take
│   ├── TooSlow                 the body did not arrive in time
│   ├── WrongMediaType          a Content-Type or Content-Encoding that is not taken
│   ├── JobAlreadyEnded         cancel of what has ended
│   ├── JobNotSteered           pause or resume of what cannot be
│   ├── JobTaken                an import of a job that is another's
│   ├── UploadNotOpen           a part for, or the end of, an upload that is over
│   ├── TooManyUploads          of one project that are open
│   ├── TooManyParts            of one upload
│   ├── UploadIncomplete        the parts are not the file that was announced
│   ├── TooManyEndpoints        of one project
│   ├── EndpointDisabled        it has to be enabled before anything is sent there again
│   ├── DeliveryWithoutReceiver its subscription, or the key that signed it, is gone
│   ├── TooManyTests            of one project at a time
│   ├── TestUnanswered          a test webhook got no answer
│   ├── IdempotencyMismatch     a known Idempotency-Key with another body
│   ├── FileNotFetchedYet       a result file that is still on its way from the upstream
│   └── FileNotChecked          a large dataset whose check is still running
├── UpstreamError               what an upstream said, or did not say
│   ├── UpstreamRefused         a plain no (400, 403, 404, 422)
│   ├── UpstreamNotReady        the file is still being processed
│   ├── UpstreamUnauthorized    our key is refused (401)
│   ├── UpstreamBusy            no slot, no quota, too many requests (429, overloaded)
│   ├── UpstreamUnreachable     no connection could be made, so nothing was sent
│   └── UpstreamUnknown         no usable answer: it may have happened, it may not
├── DatasetUnread               the process that reads datasets did not answer
├── StoreUnavailable            Redis does not answer
├── StoreNearlyFull             Redis has room left for what was accepted, not for more
├── StoreMisconfigured          Redis would lose or evict what we write
├── RecordUnreadable            a record that this program cannot make sense of
└── Conflict                    the record is not what we read: somebody was faster
    ├── RevisionChanged
    ├── LeaseLost, LeaseTaken
    ├── IllegalMove             not an arrow of the table
    ├── AlreadyTracked          the upstream's job is another job's
    └── RecordTooNew            written by a newer version of this program
"""

from __future__ import annotations

import inspect
from typing import Any


class TunehookError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None, /, *, param: str | None = None, **fields: Any) -> None:
        self.param = param
        self.fields = fields
        template = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(message if message is not None else template.format(param=param, **fields))

    @property
    def message(self) -> str:
        return str(self.args[0])


class RequestError(TunehookError):
    """The request cannot be done as asked."""


class InvalidBody(RequestError):
    """We could not parse the JSON body of your request: {why}."""


class InvalidParameter(RequestError):
    """Invalid '{param}': {why}."""


class MissingParameter(InvalidParameter):
    """Missing required parameter: '{param}'."""


class UnknownParameter(InvalidParameter):
    """Unknown parameter: '{param}'.{hint}"""


class ModelUnknown(InvalidParameter):
    """{why} The upstream '{upstream}' does not list it either. A price file (TUNEHOOK_PRICES) can name it."""


class WrongMediaType(RequestError):
    """{why}"""


class MissingKey(RequestError):
    """You didn't provide an API key. Send it as `Authorization: Bearer th_…`; `tunehook keys create` makes one."""


class WrongKey(RequestError):
    """Incorrect API key provided: {hint}. `tunehook keys list` shows the keys that exist."""


class NotFound(RequestError):
    """No such thing: {id}."""


class JobNotFound(NotFound):
    """Could not find fine tune: {id}"""


class FileNotFound(NotFound):
    """No such File object: {id}"""


class UploadNotFound(NotFound):
    """No such Upload object: {id}"""


class UpstreamHookUnknown(NotFound):
    """No webhooks are taken from an upstream called '{name}': there is none, or it has no webhook secret set."""


class ModelNotFound(NotFound):
    """The model '{id}' does not exist or was not tuned here by this project."""


class EndpointNotFound(NotFound):
    """No such webhook endpoint: {id}"""


class DeliveryNotFound(NotFound):
    """No such delivery: {id}. Deliveries are kept for 30 days."""


class FileContentGone(NotFound):
    """The content of {id} is no longer kept here."""


class NoReport(NotFound):
    """There is no report on {id}: only datasets that were sent here are checked."""


class RouteNotFound(NotFound):
    """Unknown request URL: {method} {path}. {hint}"""


class MethodNotAllowed(RequestError):
    """{path} does not take {method}; it takes {allowed}."""


class FileUnusable(RequestError):
    """The file {id} cannot be trained on: {why}."""


class TooFewExamples(FileUnusable):
    """The file {id} has {examples} example(s), but must have at least {least} examples to train on."""


class CostAboveLimit(RequestError):
    """The job was not made: {why}."""


class FileInUse(RequestError):
    """The file {id} is still needed by {job}, which has not ended. Cancel the job first, or wait for its end."""


class TooLarge(RequestError):
    """The request is larger than {limit} bytes, which is the most that is taken here."""


class TooSlow(RequestError):
    """The body did not arrive within {seconds} seconds."""


class JobAlreadyEnded(RequestError):
    """Job {id} has already {status}; only a job that has not ended can be cancelled."""


class TooManyEndpoints(RequestError):
    """This project has {most} webhook endpoints, which is the most there may be. Delete one that is not needed."""


class EndpointDisabled(RequestError):
    """The webhook endpoint {id} is disabled ({why}). POST /v1/webhook_endpoints/{id}/enable enables it again."""


class DeliveryWithoutReceiver(RequestError):
    """Delivery {id} cannot be sent again: {why}."""


class TooManyTests(RequestError):
    """This project has {most} test webhooks under way, which is the most at a time. Wait for one of them to end."""


class TestUnanswered(RequestError):
    """No answer came to the test webhook: {why}."""

    __test__ = False  # not one of pytest's


class JobNotSteered(RequestError):
    """Job {id} cannot be {what}: {why}."""


class UploadNotOpen(RequestError):
    """Upload {id} is {status}; only a pending one can be {what}."""


class TooManyUploads(RequestError):
    """This project has {most} open uploads, the most there may be. Complete or cancel one: each has an hour."""


class TooManyParts(RequestError):
    """Upload {id} has {most} parts, which is the most there may be. Send larger ones: up to 64 MB each."""


class UploadIncomplete(RequestError):
    """{why}"""


class JobTaken(RequestError):
    """The job {upstream_job_id} of '{upstream}' cannot be taken over: {why}."""


class IdempotencyMismatch(RequestError):
    """This Idempotency-Key was used with another request body within the last 24 hours. Use a new key."""


class FileNotChecked(RequestError):
    """The file '{id}' is still being checked. Ask again when its status is 'processed' or 'error'."""


class FileNotFetchedYet(RequestError):
    """The content of {id} is still being fetched from the upstream. Ask again in a moment."""


class UpstreamError(TunehookError):
    """The upstream '{upstream}' did not do what it was asked."""

    def __init__(self, message: str | None = None, /, *, param: str | None = None, **fields: Any) -> None:
        super().__init__(message, param=param, **fields)
        self.upstream = str(fields.get("upstream", ""))
        self.status = int(fields.get("status") or 0)
        self.code: str | None = fields.get("code")
        self.retry_after: float | None = fields.get("retry_after")


class UpstreamRefused(UpstreamError):
    """The upstream '{upstream}' refused."""


class UpstreamNotReady(UpstreamError):
    """The upstream '{upstream}' is still processing the file."""


class UpstreamUnauthorized(UpstreamError):
    """The upstream '{upstream}' does not accept our key."""


class UpstreamBusy(UpstreamError):
    """The upstream '{upstream}' has no room for this now."""


class UpstreamUnreachable(UpstreamError):
    """No connection to the upstream '{upstream}' could be made."""


class UpstreamUnknown(UpstreamError):
    """The upstream '{upstream}' gave no usable answer: {why}."""


class UnknownUpstream(InvalidParameter):
    """Invalid '{param}': there is no upstream '{name}' here; there is {known}."""


class DatasetUnread(TunehookError):
    """The dataset could not be read through: {why}. Try again."""


class StoreUnavailable(TunehookError):
    """The store (Redis) does not answer. Try again: an SDK's repeat, or one Idempotency-Key, makes no second job."""


class StoreNearlyFull(TunehookError):
    """The store (Redis) is over {percent} % full: nothing new is taken, what was accepted goes on. Try again later."""


class StoreMisconfigured(TunehookError):
    """{why}"""


class RecordUnreadable(TunehookError):
    """{record} cannot be read, so nothing is done with it: {why}."""


class Conflict(TunehookError):
    """Somebody was faster."""


class RevisionChanged(Conflict):
    """{record} was changed since it was read."""


class LeaseLost(Conflict):
    """The lease on {record} ran out while we worked on it."""


class LeaseTaken(Conflict):
    """Somebody else works on {record}."""


class IllegalMove(Conflict):
    """A job does not go from {source} to {target}."""


class AlreadyTracked(Conflict):
    """{record} cannot be the upstream's job {upstream_job_id}: {owner} is."""


class RecordTooNew(Conflict):
    """{record} was written by version {version} of its format; this program knows up to {known}."""
