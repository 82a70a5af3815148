"""The exception tree. A class's docstring is its message; `{names}` in it are filled in when it is raised.

TunehookError
├── RequestError        a client's request cannot be carried out
│   ├── InvalidBody, InvalidForm, MissingKey, WrongKey, MethodNotAllowed, TooLarge, TooSlow, WrongMediaType
│   ├── ScopeMissing            the key may not do that
│   ├── MalformedRequest        it is not HTTP
│   ├── ExpectationUnknown      an Expect header that is not 100-continue
│   ├── InvalidParameter
│   │   └── MissingParameter, UnknownParameter, UnknownUpstream, ModelUnknown
│   ├── NotFound        it does not exist, or belongs to another project
│   │   ├── JobNotFound, FileNotFound, UploadNotFound, EndpointNotFound, DeliveryNotFound
│   │   ├── RouteNotFound, UpstreamWebhookUnknown, FileContentGone, NoReport
│   │   └── ModelNotFound
│   │       └── ModelNotTuned   a base model, which is not passed on
│   ├── FileUnusable, FileInUse, FileNotChecked
│   │   └── TooFewExamples
│   ├── FileNotFetchedYet   a result file that is still on its way from the upstream
│   ├── CostAboveLimit      above the request's own limit, or it cannot be estimated
│   ├── OverBudget, NoEstimate, NotAwaiting     the project's budget, and an operator's approval
│   ├── LimitReached, RateReached   a limit of the project
│   ├── JobAlreadyEnded, JobNotSteered, JobTaken, IdempotencyMismatch, RetrainDiffers
│   ├── ModelNotTrained, NotDeployed, ModelInUse, ModelNotDeletable
│   ├── UploadNotOpen, TooManyUploads, TooManyParts, UploadIncomplete
│   └── TooManyEndpoints, EndpointDisabled, DeliveryWithoutReceiver, TooManyTests, TooManyStreams, TestUnanswered
│       TooManyPullEndpoints, PullNameTaken, NotPulled, NotPending
├── UpstreamError       an upstream refused, or did not answer
│   ├── UpstreamRefused         400, 403, 404, 422
│   │   └── UpstreamUnsupported its API has no such call or member
│   ├── UpstreamUnauthorized    401: our key
│   ├── UpstreamBusy            429, overloaded: no slot, no quota, too many requests
│   ├── UpstreamNotReady        the file is still being processed
│   ├── UpstreamUnreachable     no connection could be made, so nothing was sent
│   └── UpstreamUnknown         no usable answer: the outcome is unknown
│       ├── UpstreamOddJob      a create's answer names a job that may be ours or not
│       ├── UpstreamAlikeJob    its list has a job with our seed and file and no mark
│       └── UpstreamTooLarge    the answer is larger than its kind may be
├── DataDirUnavailable  the data directory is away, not ours, full or read-only
├── DatasetUnread, RecordUnreadable
├── JobsNotIndexed      jobs of an earlier version do not have their rows yet
├── StoreUnavailable, StoreNearlyFull, StoreNotDurable, StoreMisconfigured
│   ├── StoreRefused        of StoreUnavailable: a wrong password, a read-only replica
│   └── CommitUnconfirmed   of StoreUnavailable: replicas have not confirmed a write, which may last or not
└── Conflict            the record is not as it was read
    ├── RevisionChanged, LeaseLost, LeaseTaken
    ├── IllegalMove     not an arrow of the table
    ├── AlreadyTracked  the upstream's job is another job's
    └── RecordTooNew    written by a newer version of this program
"""

from __future__ import annotations

import inspect
from typing import Any


class TunehookError(Exception):
    """An unexpected error occurred."""

    def __init__(self, message: str | None = None, /, *, param: str | None = None, **fields: Any) -> None:
        self.param = param
        self.fields = fields
        template = inspect.cleandoc(type(self).__doc__ or "")
        super().__init__(message if message is not None else template.format(param=param, **fields))

    @property
    def message(self) -> str:
        return str(self.args[0])

    @property
    def detail(self) -> str:
        """What operators read instead of the message: it may name paths, which clients do not need."""
        return str(self.fields.get("detail", self.message))


class RequestError(TunehookError):
    """The request cannot be carried out."""


class InvalidBody(RequestError):
    """We could not parse the JSON body of your request: {why}."""


class InvalidForm(RequestError):
    """We could not read the form of your request: {why}."""


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


class MalformedRequest(RequestError):
    """The request is not valid HTTP: {why}. Correct it; an API key read from a file may end in a line break."""


class ExpectationUnknown(RequestError):
    """The header Expect may only be '100-continue'. Send the request without it."""


class MissingKey(RequestError):
    """You didn't provide an API key. Send it as `Authorization: Bearer th_…`; `tunehook keys create` makes one."""


class WrongKey(RequestError):
    """Incorrect API key provided: {hint}. `tunehook keys list` shows the keys that exist."""


class ScopeMissing(RequestError):
    """This API key may not do that: it needs the scope '{scope}', and has {has}. {hint}"""


class NotFound(RequestError):
    """Not found: {id}."""


class JobNotFound(NotFound):
    """Could not find fine tune: {id}"""


class FileNotFound(NotFound):
    """No such File object: {id}"""


class UploadNotFound(NotFound):
    """No such Upload object: {id}"""


class UpstreamWebhookUnknown(NotFound):
    """No upstream '{name}' with a webhook secret is configured. Set its webhook secret to receive its webhooks."""


class ModelNotFound(NotFound):
    """The model '{id}' does not exist or was not tuned here by this project."""


class ModelNotTuned(ModelNotFound):
    """The model '{id}' is a base model that no job of this project trains on, so it cannot be asked here."""


class EndpointNotFound(NotFound):
    """No such webhook endpoint: {id}"""


class DeliveryNotFound(NotFound):
    """No such delivery: {id}. Old ones are removed, by default after 30 days."""


class FileContentGone(NotFound):
    """The content of {id} is no longer stored here."""


class NoReport(NotFound):
    """There is no report on {id}: only datasets that were uploaded here are checked."""


class RouteNotFound(NotFound):
    """Unknown request URL: {method} {path}. {hint}"""


class MethodNotAllowed(RequestError):
    """Method {method} is not allowed for {path}. Allowed: {allowed}."""


class FileUnusable(RequestError):
    """The file {id} cannot be trained on: {why}."""


class TooFewExamples(FileUnusable):
    """The file {id} has {examples} example(s), but must have at least {least} examples to train on."""


class CostAboveLimit(RequestError):
    """The job was not created: {why}."""


class OverBudget(RequestError):
    """The project's budget does not allow this job: {why}. It renews on {renews} (UTC); an operator can raise it."""


class NoEstimate(RequestError):
    """The project has a budget, and the cost of this job cannot be estimated: {why}. State tunehook.max_cost_usd."""


class NotAwaiting(RequestError):
    """Job {id} does not wait for an approval: {why}."""


class LimitReached(RequestError):
    """This project has reached its limit of {most} {what}. {then}"""


class RateReached(RequestError):
    """This project has reached its limit of {most} requests a minute. Retry in {seconds} s."""


class FileInUse(RequestError):
    """The file {id} is still needed by {job}, which has not ended. Cancel the job first, or wait for its end."""


class TooLarge(RequestError):
    """The request is larger than the limit of {limit} bytes."""


class TooSlow(RequestError):
    """The request body did not arrive within {seconds} seconds. Send it again, faster."""


class JobAlreadyEnded(RequestError):
    """Job {id} has already ended ({status}); only a job that has not ended can be cancelled."""


class TooManyEndpoints(RequestError):
    """This project has reached the limit of {most} webhook endpoints. Delete one that is not needed."""


class EndpointDisabled(RequestError):
    """The webhook endpoint {id} is disabled ({why}). POST /v1/webhook_endpoints/{id}/enable enables it again."""


class DeliveryWithoutReceiver(RequestError):
    """Delivery {id} cannot be sent again: {why}."""


class TooManyPullEndpoints(RequestError):
    """This project has reached the limit of {most} pull endpoints. Delete one; one that is not read goes in 7 days."""


class PullNameTaken(RequestError):
    """The project's webhook endpoint {id} has the URL {url} already. Read that one, or choose another name."""


class NotPulled(RequestError):
    """{id} belongs to {url}, where deliveries are sent and noted by Tunehook. Only pull endpoints are read."""


class NotPending(RequestError):
    """Delivery {id} is {state} already, so nothing is noted. POST /v1/deliveries/{id}/redeliver makes it due again."""


class TooManyTests(RequestError):
    """This project has reached the limit of {most} test webhooks at a time. Wait for one of them to end."""


class TooManyStreams(RequestError):
    """This API key has reached the limit of {most} event streams at a time. Close one, or use webhooks or `?wait=`."""


class TestUnanswered(RequestError):
    """The test webhook got no answer: {why}."""

    __test__ = False  # not one of pytest's


class JobNotSteered(RequestError):
    """Job {id} cannot be {what}: {why}."""


class ModelNotTrained(RequestError):
    """Job {id} has made no model: its status is '{status}'. A model can be deployed once its job has succeeded."""


class ModelNotDeletable(RequestError):
    """The model '{model}' cannot be deleted: {why}."""


class ModelInUse(RequestError):
    """The model '{model}' is in use: {why}. Delete it after that."""


class NotDeployed(RequestError):
    """The model '{model}' is not deployed: {why}. POST /v1/models/{model}/deploy deploys it."""


class UploadNotOpen(RequestError):
    """Upload {id} is {status}; only a pending one can be {what}."""


class TooManyUploads(RequestError):
    """This project has reached the limit of {most} open uploads. Complete or cancel one; each expires after an hour."""


class TooManyParts(RequestError):
    """Upload {id} has reached the limit of {most} parts. Send larger parts, up to 64 MB each."""


class UploadIncomplete(RequestError):
    """{why}"""


class JobTaken(RequestError):
    """The job {upstream_job_id} of '{upstream}' cannot be taken over: {why}."""


class IdempotencyMismatch(RequestError):
    """This Idempotency-Key was used with another request body within the last 24 hours. Use a new key."""


class RetrainDiffers(RequestError):
    """This retrain was made before, as {job}, with other hyperparameters. POST /v1/fine_tuning/jobs makes another."""


class FileNotChecked(RequestError):
    """The file '{id}' is still being checked. Retry when its status is 'processed' or 'error'."""


class FileNotFetchedYet(RequestError):
    """The content of {id} is still being fetched from the upstream. Retry in a few seconds."""


class UpstreamError(TunehookError):
    """The request to the upstream '{upstream}' failed."""

    def __init__(self, message: str | None = None, /, *, param: str | None = None, **fields: Any) -> None:
        super().__init__(message, param=param, **fields)
        self.upstream = str(fields.get("upstream", ""))
        self.status = int(fields.get("status") or 0)
        self.code: str | None = fields.get("code")
        self.retry_after: float | None = fields.get("retry_after")


class UpstreamRefused(UpstreamError):
    """The upstream '{upstream}' refused the request."""


class UpstreamUnsupported(UpstreamRefused):
    """The upstream '{upstream}' has no {what}. {instead}"""


class UpstreamNotReady(UpstreamError):
    """The upstream '{upstream}' is still processing the file. Retry later."""


class UpstreamUnauthorized(UpstreamError):
    """The upstream '{upstream}' rejects the API key of this deployment. Its operator must correct the key."""


class UpstreamBusy(UpstreamError):
    """The upstream '{upstream}' is at its limit of jobs or requests. Retry later."""


class UpstreamUnreachable(UpstreamError):
    """No connection to the upstream '{upstream}' could be made: {why}."""


class UpstreamUnknown(UpstreamError):
    """The upstream '{upstream}' gave no usable answer: {why}."""


class UpstreamOddJob(UpstreamUnknown):
    """The upstream '{upstream}' answered with the job {shown}, which may be this one or not: {why}."""

    def __init__(self, message: str | None = None, /, *, shown: str, **fields: Any) -> None:
        super().__init__(message, shown=shown, **fields)
        self.shown = shown


class UpstreamAlikeJob(UpstreamUnknown):
    """The upstream '{upstream}' lists the job {shown}, which may be this one: it has its seed and file, and no mark."""


class UpstreamTooLarge(UpstreamUnknown):
    """The upstream '{upstream}' sent an answer of more than {limit} bytes. It was not read further."""


class UnknownUpstream(InvalidParameter):
    """Invalid '{param}': there is no upstream '{name}'.{hint} Configured: {known}."""


class DatasetUnread(TunehookError):
    """The dataset could not be checked: {why}. Retry."""


class DataDirUnavailable(TunehookError):
    """The storage of this server cannot be used: {why}. Accepted jobs wait. Retry later."""


class StoreUnavailable(TunehookError):
    """The store (Redis) does not answer. Retry: an SDK's retry, or the same Idempotency-Key, creates no second job."""

    at_start = "Redis does not answer at REDIS_URL."


class StoreRefused(StoreUnavailable):
    """The store (Redis) refuses: {why}."""


class CommitUnconfirmed(StoreUnavailable):
    """Too few replicas of the store (Redis) have confirmed this: it may last, or be lost with the primary. Repeat it: the same Idempotency-Key finds the job that was made."""  # noqa: E501

    at_start = "Fewer replicas than TUNEHOOK_REPLICAS confirm a write."


class StoreNearlyFull(TunehookError):
    """The store (Redis) is over {percent} % full: new records are refused, accepted jobs go on. Retry later."""


class JobsNotIndexed(TunehookError):
    """After an upgrade, the jobs of this project are being indexed: {done} of {total} are. Retry in {seconds} s. Meanwhile, lists of jobs without a filter work as ever."""  # noqa: E501


class StoreNotDurable(TunehookError):
    """The store (Redis) could lose new jobs, so none are accepted: {why}. Accepted jobs go on. Retry later."""


class StoreMisconfigured(TunehookError):
    """{why}"""


class RecordUnreadable(TunehookError):
    """{record} cannot be read, so it is left as it is: {why}."""


class Conflict(TunehookError):
    """The record was changed by another request. Read it again and retry."""


class RevisionChanged(Conflict):
    """{record} was changed by another request. Read it again and retry."""


class LeaseLost(Conflict):
    """The lease on {record} expired during the work on it. The work is retried."""


class LeaseTaken(Conflict):
    """{record} is being worked on by another process. Retry later."""


class IllegalMove(Conflict):
    """A record cannot move from {source} to {target}."""


class AlreadyTracked(Conflict):
    """{record} cannot track the upstream's job {upstream_job_id}: {owner} tracks it already."""


class RecordTooNew(Conflict):
    """{record} was written by version {version} of its format; this program reads up to {known}. Upgrade it."""
