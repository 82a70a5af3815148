"""Names of all Redis keys. Ours begin with `th:`, RQ's with `rq:`.

A record is a hash: `doc` (JSON), `rev` (revision), `v` (version of the format). A job's also has `stage`, `intent`
(ms), `cancel` (s), `rows` (its rows in the index, JSON), `indexed` (the revision that they were made of), and
`estimate` (JSON) if an earlier version wrote it.
"""

from __future__ import annotations

import hashlib

from tunehook.model.member import Queue

# ---- due members and leases

WAKE = "th:wake"  # channel: a member has become due; the message is its queue
CLAIMS = "th:claims"  # hash: member → claims since the last commit
WOKEN = "th:woken"  # set: members that were woken while another process held their lease
PARKED = "th:parked"  # zset: member → when it was given up, ms
CLOCK = "th:clock"  # the last tick of any scheduler, ms
CONFIRMED = "th:confirmed"  # written to ask replicas for all that was written before
PRIMARY = "th:primary"  # "<replication id> <when it was seen first, unix seconds>"
CLOCK_SEEN = "th:clock-seen"  # Redis' time as a scheduler saw it last, ms
CLOCK_SET_BACK = "th:clock-set-back"  # by how much Redis' clock was set back, ms; expires


def due(queue: Queue) -> str:
    """zset: member → when it is due, ms; or -1, once it is in its project's line (claim.lua).

    `th:due:deliver` belongs to versions before 0.2 (upgrade.py): they remove members from it that they do not know.
    """
    return "th:due:deliveries" if queue == "deliver" else f"th:due:{queue}"


def turns(queue: Queue) -> str:
    """zset: project → its turn in that queue, while it has a line there: a list under this name and the project's."""
    return f"th:turns:{queue}"


def lease(member: str) -> str:
    return f"th:lease:{member}"


def clock_on(host: str) -> str:
    """Exists while the scheduler on that host ticks: a worker's health depends on its own scheduler alone."""
    return f"th:clock:{host}"


# ---- jobs

SEQUENCE = "th:sequence"  # counter: the order of acceptance
STAGES = "th:stages"  # hash: stage → number of jobs
SETTLED = "th:settled"  # zset: job → when it ended, ms
FOLLOWED = "th:followed"  # zset: job whose log a client reads → until when, ms


def job(job_id: str) -> str:
    return f"th:job:{job_id}"


def job_log(job_id: str) -> str:
    """stream: the job's events in order of arrival."""
    return f"th:job-log:{job_id}"


def job_log_seen(job_id: str) -> str:
    """set: the upstream's event ids that are in the log."""
    return f"th:job-log-seen:{job_id}"


def job_metrics(job_id: str) -> str:
    """The job's metrics: a line of JSON for each row (model/metrics.py)."""
    return f"th:job-metrics:{job_id}"


def jobs(project: str) -> str:
    """zset: the project's jobs in order of acceptance."""
    return f"th:jobs:{project}"


def jobs_with(project: str, name: str, value: str) -> str:
    """zset: the project's jobs with one metadata pair, in order of acceptance."""
    digest = hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:24]
    return f"th:jobs:{project}:with:{digest}"


def job_id_of(key: str) -> str:
    """The id in the key of a job's record."""
    return key.removeprefix(job(""))


def job_index(project: str) -> str:
    """zset in the order of bytes: rows by which the project's jobs are filtered (job_index.py)."""
    return f"th:job-index:{project}"


def job_texts(project: str) -> str:
    """Begins the names of strings with the texts of the jobs of 512 places, a line each (search_text.lua)."""
    return f"th:job-texts:{project}:"


INDEXED = "th:job-index"  # set: projects whose jobs all have their rows
INDEX_CHECKED = "th:job-index-checked"  # exists for a while after all jobs were compared with their rows


def costs(project: str, month: str) -> str:
    """hash: `estimated` and `spent` in the month (`2026-11`), in millionths of a dollar; `unpriced` jobs.

    For the summary, of all projects, by the months of acceptance and end. `money` is a budget's, by the month that
    held it: a job over the turn of a month counts in another one there.
    """
    return f"th:costs:{project}:{month}"


def repeat(key_id: str, digest: str) -> str:
    """What a call with this body made last, for SDKs that retry without an idempotency key."""
    return f"th:repeat:{key_id}:{digest}"


def retried(key_id: str, digest: str) -> str:
    """The job that an SDK's retry of this body made last: its first call may still run."""
    return f"th:retried:{key_id}:{digest}"


def idempotency(project: str, key: str) -> str:
    """The job of an idempotency key."""
    return f"th:idempotency:{project}:{hashlib.sha256(key.encode()).hexdigest()}"


def wish(job_id: str, digest: str) -> str:
    """The job that trains a job's data again; `digest`: of the upstream, model and options that were wished for."""
    return f"th:wish:{job_id}:{digest}"


def wishes(job_id: str) -> str:
    """set: the keys of all wishes to train a job's data again."""
    return f"th:wishes:{job_id}"


# ---- fine-tuned models

MODEL_OWNERS = "th:model-owners"  # hash: name of a fine-tuned model → the project that may use it


def models(project: str) -> str:
    """hash: name of a fine-tuned model → its upstream and origin, JSON."""
    return f"th:models:{project}"


def models_by_age(project: str) -> str:
    """zset: name of a fine-tuned model → minus its time, so that the newest comes first."""
    return f"th:models-by-age:{project}"


DEPLOYMENTS_OVER = "th:deployments-over"  # zset: job whose model's deployment is over → since when, ms
DEPLOYMENTS = "th:deployments"  # set: jobs whose model's deployment the vendor may have, and may bill


def deployment(job_id: str) -> str:
    """The deployment of a job's model."""
    return f"th:deployment:{job_id}"


# ---- files, copies at upstreams, uploads in parts

EXPIRING = "th:expiring"  # zset: file with `expires_after` → when it expires, ms
DATASETS = "th:datasets"  # zset: any other dataset → when it was needed last, ms
COPIES = "th:copies"  # zset: `<upstream>:<sha256>` → when it was needed last, ms
LEAVING = "th:leaving"  # zset: file whose record is not yet there, or deleted → when its bytes may go, ms
LEAVING_COPIES = "th:leaving-copies"  # set: `<upstream> <file id there>`, still to be deleted there
STORAGE_MARK = "th:shelf"  # the mark of the data directory that belongs to this store
UPLOADS = "th:uploads"  # zset: upload whose parts are stored → when it expires, ms


def file(file_id: str) -> str:
    return f"th:file:{file_id}"


def files(project: str) -> str:
    """zset: the project's files in order of arrival."""
    return f"th:files:{project}"


def file_users(file_id: str) -> str:
    """set: the live jobs that need the file."""
    return f"th:file-users:{file_id}"


def fetched(project: str, what: str) -> str:
    """The project's file that was fetched for imported jobs. `what`: `<upstream>:<file id there>` or its SHA-256."""
    return f"th:fetched:{project}:{what}"


def fetched_notes(file_id: str) -> str:
    """set: the keys by which a fetched file is found. They go with its record."""
    return f"th:fetched-notes:{file_id}"


def copy(upstream: str, sha256: str) -> str:
    return f"th:copy:{upstream}:{sha256}"


def copy_waiters(upstream: str, sha256: str) -> str:
    """set: the jobs that wait for the upload."""
    return f"th:copy-waiters:{upstream}:{sha256}"


def copy_users(upstream: str, sha256: str) -> str:
    """set: the live jobs that train on the copy."""
    return f"th:copy-users:{upstream}:{sha256}"


def upload(upload_id: str) -> str:
    return f"th:upload:{upload_id}"


def upload_parts(upload_id: str) -> str:
    """hash: part id → its size in bytes."""
    return f"th:upload-parts:{upload_id}"


def open_uploads(project: str) -> str:
    """zset: the project's uploads that are neither completed nor cancelled → when they expire, ms."""
    return f"th:open-uploads:{project}"


# ---- upstreams

EXTRAS = "th:extras"  # hash: upstream → extra jobs found there and cancelled
FORGOTTEN = "forgotten:"  # in `known`, before the project of a job that retention has deleted


def live(upstream: str) -> str:
    """hash: upstream job id → `<our id> <fingerprint>` of every job that is tracked there."""
    return f"th:live:{upstream}"


def known(upstream: str) -> str:
    """hash: upstream job id → our id, of every job that is or was ours there."""
    return f"th:known:{upstream}"


def log_read(upstream: str) -> str:
    """zset: live job → when its events were last fetched, ms."""
    return f"th:log-read:{upstream}"


def extras_sought(upstream: str) -> str:
    """zset: job that is watched for extras → when they were last looked for, ms."""
    return f"th:extras-sought:{upstream}"


def watched_for_extras(upstream: str) -> str:
    """zset: job with a create of unknown outcome → until when its extras are looked for, ms."""
    return f"th:doubtful:{upstream}"


def poll_cursor(upstream: str) -> str:
    """JSON: where in the upstream's list the next poll goes on, if the last one ran out of time."""
    return f"th:look-cursor:{upstream}"


def waiting(upstream: str) -> str:
    """zset: the jobs that wait for a slot. Their order is that of `slot_turns`."""
    return f"th:waiting:{upstream}"


def slot_turns(upstream: str) -> str:
    """zset: project → its turn for a slot, while it has a line there: a zset under this name and the project's."""
    return f"th:turns:slots:{upstream}"


def slots_freed(upstream: str) -> str:
    """list: when jobs there ended, unix seconds, the newest first."""
    return f"th:slots-freed:{upstream}"


def slots(upstream: str) -> str:
    """How many jobs of ours it had when it said that it takes no more; expires."""
    return f"th:slots:{upstream}"


def creates(upstream: str) -> str:
    """zset: job whose create is under way, at an upstream with slots to be kept free → until when it counts, ms."""
    return f"th:creates:{upstream}"


def hold(upstream: str) -> str:
    """JSON that expires: why no job is created there now."""
    return f"th:hold:{upstream}"


def hook_seen(upstream: str, message_id: str) -> str:
    """Exists for a webhook of the upstream that was accepted before."""
    return f"th:hook-seen:{upstream}:{hashlib.sha256(message_id.encode(errors='surrogatepass')).hexdigest()[:32]}"


# ---- projects and API keys

API_KEYS = "th:keys"  # set of ids
API_KEYS_USED = "th:keys-used"  # hash: id → the day of its last use
PROJECTS = "th:projects"  # set of names
PROJECT_SETTINGS = "th:project-settings"  # hash: project → its limits, JSON
RATE_LIMITS = "th:rate"  # prefix: counters of requests a minute (rate_limits.py)
PROJECT_SETTINGS_VERSION = "th:project-settings-version"  # counter: changes of them
SEAL = "th:seal"  # a value that is encrypted with the same key as all secrets


def api_key(key_id: str) -> str:
    return f"th:key:{key_id}"


def unsettled(project: str) -> str:
    """zset: the project's unsettled jobs, where they are limited. Ended ones leave it when it is full (commit.lua)."""
    return f"th:unsettled:{project}"


def jobs_on(project: str, day: str) -> str:
    """How many jobs the project made on that day, where they are limited."""
    return f"th:jobs-on:{project}:{day}"


def money(project: str, month: str) -> str:
    """hash: `held` and `spent` of the project's budget of a month, in millionths of a US dollar."""
    return f"th:money:{project}:{month}"


def awaiting(project: str) -> str:
    """set: the project's jobs that wait for an operator's approval."""
    return f"th:awaiting:{project}"


def project_events(project: str) -> str:
    """stream: the records of the project that have changed, the newest 5,000 (project_events.py)."""
    return f"th:project-events:{project}"


# ---- metrics

COUNTS = "th:counts"  # hash: family and labels → count (tally.py)
COUNTED_PROJECTS = "th:counted-projects"  # zset: project in the order in which they were counted first


# ---- webhooks

ATTEMPTS = "th:delivery-attempts"  # hash: outcome → attempts ever made


def event(event_id: str) -> str:
    return f"th:event:{event_id}"


def delivery(delivery_id: str) -> str:
    return f"th:delivery:{delivery_id}"


def attempts(delivery_id: str) -> str:
    """list: every attempt, JSON, in order."""
    return f"th:attempts:{delivery_id}"


def rest(receiver: str) -> str:
    """Exists while the receiver throttles: no delivery is sent to it until the key expires."""
    return f"th:rest:{receiver}"


def receiver_state(receiver: str) -> str:
    """How the receiver's last attempt ended (model/webhook.py: ReceiverState), with an expiry."""
    return f"th:receiver:{receiver}"


def job_deliveries(job_id: str) -> str:
    """zset: the job's deliveries → when they were made, ms."""
    return f"th:job-deliveries:{job_id}"


def endpoint(endpoint_id: str) -> str:
    return f"th:endpoint:{endpoint_id}"


def endpoints(project: str) -> str:
    """zset: the project's webhook endpoints by age."""
    return f"th:endpoints:{project}"


def subscriptions(project: str) -> str:
    """hash: enabled endpoint → JSON of URL and event types: one read finds an event's receivers."""
    return f"th:subscriptions:{project}"


def endpoint_deliveries(endpoint_id: str) -> str:
    """zset: the endpoint's deliveries → when they were made, ms."""
    return f"th:endpoint-deliveries:{endpoint_id}"


def failed_deliveries(endpoint_id: str) -> str:
    """zset: those of the endpoint's deliveries that were given up → when they were made, ms."""
    return f"th:failed-deliveries:{endpoint_id}"


def pull(endpoint_id: str) -> str:
    """zset: delivery of a pull endpoint that is not over → when it may be handed out (again), ms."""
    return f"th:pull:{endpoint_id}"


def pulls(project: str) -> str:
    """zset: the project's pull endpoints → when each goes unless it is read, ms."""
    return f"th:pulls:{project}"


def pull_name(project: str, url: str) -> str:
    """The endpoint that took the URL `pull:<name>` in the last minute (store/endpoints.py)."""
    return f"th:pull-name:{project}:{url}"


def announced(subject: str) -> str:
    """What was announced last about a subject that has no record of its own."""
    return f"th:told:{subject}"
