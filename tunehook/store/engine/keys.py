"""The name of every key. All begin with `th:`; RQ's own begin with `rq:`.

Records are hashes: `doc` (JSON), `rev` (revision), for jobs also `stage`, `intent` (ms), `cancel` (s) and
`estimate` (JSON, until a change of the job takes it in).
"""

from __future__ import annotations

import hashlib

from tunehook.model.member import Queue

#: Channel: something has become due. Its message is the queue's name.
WAKE = "th:wake"
#: Channel: a job or its log has news. Its message is the job's id.
NEWS = "th:news"
CLAIMS = "th:claims"  # hash: member → claims since something came of it
WOKEN = "th:woken"  # set: members that were woken while somebody held their lease
PARKED = "th:parked"  # zset: member → when it was given up
SEQUENCE = "th:sequence"  # counter: the order in which things were accepted
SEAL = "th:seal"  # something sealed under the key that all secrets here are sealed under
CLOCK = "th:clock"  # the last tick of any clock, ms
STAGES = "th:stages"  # hash: stage → how many jobs there are of it
SETTLED = "th:settled"  # zset: jobs that have ended → when, ms


def clock_on(host: str) -> str:
    """There while the clock on that host ticks. A worker's health is its own clock's, not any other's."""
    return f"th:clock:{host}"


def due(queue: Queue) -> str:
    """zset: member → the ms at which it is due.

    `th:due:deliver` belongs to versions before 0.2 (upgrade.py): they remove members from it that they do not know.
    """
    return "th:due:deliveries" if queue == "deliver" else f"th:due:{queue}"


def lease(member: str) -> str:
    return f"th:lease:{member}"


def job(job_id: str) -> str:
    return f"th:job:{job_id}"


def job_log(job_id: str) -> str:
    """stream: the job's events in order of arrival."""
    return f"th:job-log:{job_id}"


def job_log_seen(job_id: str) -> str:
    """set: the upstream's event ids that are in the log."""
    return f"th:job-log-seen:{job_id}"


def jobs(project: str) -> str:
    """zset: the project's jobs by order of acceptance."""
    return f"th:jobs:{project}"


def jobs_with(project: str, name: str, value: str) -> str:
    """zset: those with one metadata pair."""
    digest = hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:24]
    return f"th:jobs:{project}:with:{digest}"


def models(project: str) -> str:
    """hash: name of a model that was tuned here → where it is and what it was made from, JSON."""
    return f"th:models:{project}"


MODEL_OWNERS = "th:model-owners"  # hash: name of a model that was tuned here → the project that may use it


def repeat(key_id: str, digest: str) -> str:
    """The job that this very body made last, for SDKs that repeat a call without an idempotency key."""
    return f"th:repeat:{key_id}:{digest}"


def retried(key_id: str, digest: str) -> str:
    """The job that an SDK's own repeat of this very body made last: its first call may still be under way."""
    return f"th:retried:{key_id}:{digest}"


def idempotency(project: str, key: str) -> str:
    return f"th:idempotency:{project}:{hashlib.sha256(key.encode()).hexdigest()}"


def file(file_id: str) -> str:
    return f"th:file:{file_id}"


def files(project: str) -> str:
    return f"th:files:{project}"


def file_users(file_id: str) -> str:
    """set: the unsettled jobs that need it."""
    return f"th:file-users:{file_id}"


def copy(upstream: str, sha256: str) -> str:
    return f"th:copy:{upstream}:{sha256}"


def copy_waiters(upstream: str, sha256: str) -> str:
    """set: the jobs that wait for the upload."""
    return f"th:copy-waiters:{upstream}:{sha256}"


def copy_users(upstream: str, sha256: str) -> str:
    """set: the unsettled jobs that train on the copy."""
    return f"th:copy-users:{upstream}:{sha256}"


#: What will be removed, and when it was needed last (or, for the first, when its time is over): zsets, ms.
EXPIRING = "th:expiring"  # files with an `expires_after`
DATASETS = "th:datasets"  # the other datasets
COPIES = "th:copies"  # `<upstream>:<sha256>`
SHELF = "th:shelf"  # the mark that the data directory of this store bears
UNKNOWN = "th:unknown"  # zset: what lies in it and has no record here → since when that is so, ms
#: What is known no more, and still has to be removed where its bytes are: sets.
LEAVING = "th:leaving"  # file ids, from the shelf
LEAVING_COPIES = "th:leaving-copies"  # `<upstream> <file id there>`


def upload(upload_id: str) -> str:
    return f"th:upload:{upload_id}"


def upload_parts(upload_id: str) -> str:
    """hash: part id → its size in bytes."""
    return f"th:upload-parts:{upload_id}"


UPLOADS = "th:uploads"  # zset: uploads whose parts are on the shelf → when they expire, ms


def open_uploads(project: str) -> str:
    """zset: the project's uploads that are neither completed nor cancelled → when they expire, ms."""
    return f"th:open-uploads:{project}"


def hook_seen(upstream: str, message_id: str) -> str:
    """A webhook of an upstream that came before."""
    return f"th:hook-seen:{upstream}:{hashlib.sha256(message_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


def live(upstream: str) -> str:
    """hash: upstream job id → `<our id> <fingerprint>` of every job that is tracked there."""
    return f"th:live:{upstream}"


#: In `known`, of a job that retention has removed: whose it was.
FORGOTTEN = "forgotten:"


def known(upstream: str) -> str:
    """hash: upstream job id → our id, of every job that is or was ours there."""
    return f"th:known:{upstream}"


def log_read(upstream: str) -> str:
    """zset: live jobs → when their events were last fetched, ms."""
    return f"th:log-read:{upstream}"


def extras_sought(upstream: str) -> str:
    """zset: doubtful jobs → when their extras were last looked for, ms."""
    return f"th:extras-sought:{upstream}"


def look_cursor(upstream: str) -> str:
    """Where in the upstream's list a look that ran out of time goes on."""
    return f"th:look-cursor:{upstream}"


def doubtful(upstream: str) -> str:
    """zset: jobs one of whose creates had an unknown outcome → until when extras are looked for, ms."""
    return f"th:doubtful:{upstream}"


def waiting(upstream: str) -> str:
    """zset: jobs that wait for a slot, by order of acceptance."""
    return f"th:waiting:{upstream}"


def hold(upstream: str) -> str:
    """JSON with an expiry: why nothing is created there for now."""
    return f"th:hold:{upstream}"


FOLLOWED = "th:followed"  # zset: jobs whose log somebody reads → until when, ms
ATTEMPTS = "th:delivery-attempts"  # hash: outcome → attempts ever made
EXTRAS = "th:extras"  # hash: upstream → extra jobs found there and cancelled


def api_key(key_id: str) -> str:
    return f"th:key:{key_id}"


API_KEYS = "th:keys"  # set of ids
PROJECTS = "th:projects"  # set of names


def event(event_id: str) -> str:
    return f"th:event:{event_id}"


def delivery(delivery_id: str) -> str:
    return f"th:delivery:{delivery_id}"


def attempts(delivery_id: str) -> str:
    """list: every attempt, JSON, in order."""
    return f"th:attempts:{delivery_id}"


def job_deliveries(job_id: str) -> str:
    return f"th:job-deliveries:{job_id}"


def rest(receiver: str) -> str:
    """Exists while the receiver throttles: nothing is sent to it until the key expires."""
    return f"th:rest:{receiver}"


def receiver_state(receiver: str) -> str:
    """How the receiver's last attempt ended (model/webhook.py: ReceiverState), with an expiry."""
    return f"th:receiver:{receiver}"


def endpoint(endpoint_id: str) -> str:
    return f"th:endpoint:{endpoint_id}"


def endpoints(project: str) -> str:
    """zset: the project's subscriptions by age."""
    return f"th:endpoints:{project}"


def subscriptions(project: str) -> str:
    """hash: enabled subscription → JSON of its URL and event types, so that finding who is told is one read."""
    return f"th:subscriptions:{project}"


def endpoint_deliveries(endpoint_id: str) -> str:
    """zset: its deliveries → when they were made, ms."""
    return f"th:endpoint-deliveries:{endpoint_id}"


def failed_deliveries(endpoint_id: str) -> str:
    """zset: those of them that were given up → when they were made, ms."""
    return f"th:failed-deliveries:{endpoint_id}"


def told(what: str) -> str:
    """What was told last of something that has no record of its own to say so."""
    return f"th:told:{what}"
