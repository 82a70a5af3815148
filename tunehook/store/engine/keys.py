"""Names of all Redis keys. Ours begin with `th:`, RQ's with `rq:`.

A record is a hash: `doc` (JSON), `rev` (revision), `v` (version of the format). A job's also has `stage`, `intent`
(ms), `cancel` (s), `rows` (its rows in the index, JSON), `indexed` (the revision that they were made of), and
`estimate` (JSON) if an earlier version wrote it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tunehook.model.member import Queue

OWN = "th:*"  # the pattern of all of ours


def _of(template: str) -> Callable[[str], str]:
    """Returns the function that makes the key of one id, which stands at its end."""
    return template.partition("{")[0].__add__


def _of_two(template: str) -> Callable[[str, str], str]:
    """Returns the function that makes the key of two ids, which stand at its end with a colon between them."""
    prefix = template.partition("{")[0]
    return lambda one, other: f"{prefix}{one}:{other}"


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
# zset: project → its turn in that queue, while it has a line there: a list under this name and the project's
turns = _of("th:turns:{queue}")
lease = _of("th:lease:{member}")
# Exists while the scheduler on that host ticks: a worker's health depends on its own scheduler alone.
clock_on = _of("th:clock:{host}")


def due(queue: Queue) -> str:
    """zset: member → when it is due, ms; or -1, once it is in its project's line (claim.lua).

    `th:due:deliver` belongs to versions before 0.2 (upgrade.py): they remove members from it that they do not know.
    """
    return "th:due:deliveries" if queue == "deliver" else f"th:due:{queue}"


# ---- jobs

SEQUENCE = "th:sequence"  # counter: the order of acceptance
STAGES = "th:stages"  # hash: stage → number of jobs
SETTLED = "th:settled"  # zset: job → when it ended, ms
FOLLOWED = "th:followed"  # zset: job whose log a client reads → until when, ms
INDEXED = "th:job-index"  # set: projects whose jobs all have their rows
INDEX_CHECKED = "th:job-index-checked"  # exists for a while after all jobs were compared with their rows
job = _of("th:job:{job_id}")  # record
job_log = _of("th:job-log:{job_id}")  # stream: the job's events in order of arrival
job_log_seen = _of("th:job-log-seen:{job_id}")  # set: the upstream's event ids that are in the log
job_metrics = _of("th:job-metrics:{job_id}")  # a line of JSON for each row (model/metrics.py)
jobs = _of("th:jobs:{project}")  # zset: the project's jobs in order of acceptance
# zset in the order of bytes: rows by which the project's jobs are filtered (job_index.py)
job_index = _of("th:job-index:{project}")
# hash: `estimated` and `spent` in the month (`2026-11`), in millionths of a dollar; `unpriced` jobs.
# For the summary, of all projects, by the months of acceptance and end. `money` is a budget's, by the month that held
# it: a job over the turn of a month counts in another one there.
costs = _of_two("th:costs:{project}:{month}")
# What a call with this body made last, for SDKs that retry without an idempotency key.
repeat = _of_two("th:repeat:{key_id}:{digest}")
# The job that an SDK's retry of this body made last: its first call may still run.
retried = _of_two("th:retried:{key_id}:{digest}")
# The job that trains a job's data again; `digest`: of the upstream, model and options that were wished for.
wish = _of_two("th:wish:{job_id}:{digest}")
wishes = _of("th:wishes:{job_id}")  # set: the keys of all wishes to train a job's data again


def job_id_of(key: str) -> str:
    """The id in the key of a job's record."""
    return key.removeprefix(job(""))


def jobs_with(project: str, name: str, value: str) -> str:
    """zset: the project's jobs with one metadata pair, in order of acceptance."""
    digest = hashlib.sha256(f"{name}\0{value}".encode()).hexdigest()[:24]
    return f"th:jobs:{project}:with:{digest}"


def job_texts(project: str) -> str:
    """Begins the names of strings with the texts of the jobs of 512 places, a line each (search_text.lua)."""
    return f"th:job-texts:{project}:"


def idempotency(project: str, key: str) -> str:
    """The job of an idempotency key."""
    return f"th:idempotency:{project}:{hashlib.sha256(key.encode()).hexdigest()}"


# ---- fine-tuned models

MODEL_OWNERS = "th:model-owners"  # hash: name of a fine-tuned model → the project that may use it
DEPLOYMENTS_OVER = "th:deployments-over"  # zset: job whose model's deployment is over → since when, ms
DEPLOYMENTS = "th:deployments"  # set: jobs whose model's deployment the vendor may have, and may bill
models = _of("th:models:{project}")  # hash: name of a fine-tuned model → its upstream and origin, JSON
# zset: name of a fine-tuned model → minus its time, so that the newest comes first
models_by_age = _of("th:models-by-age:{project}")
deployment = _of("th:deployment:{job_id}")  # record: of the job's model

# ---- files, copies at upstreams, uploads in parts

EXPIRING = "th:expiring"  # zset: file with `expires_after` → when it expires, ms
DATASETS = "th:datasets"  # zset: any other dataset → when it was needed last, ms
COPIES = "th:copies"  # zset: `<upstream>:<sha256>` → when it was needed last, ms
LEAVING = "th:leaving"  # zset: file whose record is not yet there, or deleted → when its bytes may go, ms
LEAVING_COPIES = "th:leaving-copies"  # set: `<upstream> <file id there>`, still to be deleted there
STORAGE_MARK = "th:shelf"  # the mark of the data directory that belongs to this store
UPLOADS = "th:uploads"  # zset: upload whose parts are stored → when it expires, ms
file = _of("th:file:{file_id}")  # record
files = _of("th:files:{project}")  # zset: the project's files in order of arrival
file_users = _of("th:file-users:{file_id}")  # set: the live jobs that need the file
# The project's file that was fetched for imported jobs. `what`: `<upstream>:<file id there>` or its SHA-256.
fetched = _of_two("th:fetched:{project}:{what}")
# set: the keys by which a fetched file is found. They go with its record.
fetched_notes = _of("th:fetched-notes:{file_id}")
copy = _of_two("th:copy:{upstream}:{sha256}")  # record
copy_waiters = _of_two("th:copy-waiters:{upstream}:{sha256}")  # set: the jobs that wait for the upload
copy_users = _of_two("th:copy-users:{upstream}:{sha256}")  # set: the live jobs that train on the copy
upload = _of("th:upload:{upload_id}")  # record
upload_parts = _of("th:upload-parts:{upload_id}")  # hash: part id → its size in bytes
# zset: the project's uploads that are neither completed nor cancelled → when they expire, ms
open_uploads = _of("th:open-uploads:{project}")

# ---- upstreams

EXTRAS = "th:extras"  # hash: upstream → extra jobs found there and cancelled
FORGOTTEN = "forgotten:"  # in `known`, before the project of a job that retention has deleted
# hash: upstream job id → `<our id> <fingerprint>` of every job that is tracked there
live = _of("th:live:{upstream}")
known = _of("th:known:{upstream}")  # hash: upstream job id → our id, of every job that is or was ours there
log_read = _of("th:log-read:{upstream}")  # zset: live job → when its events were last fetched, ms
# zset: job that is watched for extras → when they were last looked for, ms
extras_sought = _of("th:extras-sought:{upstream}")
# zset: job with a create of unknown outcome → until when its extras are looked for, ms
watched_for_extras = _of("th:doubtful:{upstream}")
# JSON: where in the upstream's list the next poll goes on, if the last one ran out of time
poll_cursor = _of("th:look-cursor:{upstream}")
waiting = _of("th:waiting:{upstream}")  # zset: the jobs that wait for a slot. Their order is that of `slot_turns`.
# zset: project → its turn for a slot, while it has a line there: a zset under this name and the project's
slot_turns = _of("th:turns:slots:{upstream}")
slots_freed = _of("th:slots-freed:{upstream}")  # list: when jobs there ended, unix seconds, the newest first
slots = _of("th:slots:{upstream}")  # how many jobs of ours it had when it said that it takes no more; expires
# zset: job whose create is under way, at an upstream with slots to be kept free → until when it counts, ms
creates = _of("th:creates:{upstream}")
hold = _of("th:hold:{upstream}")  # JSON that expires: why no job is created there now


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
api_key = _of("th:key:{key_id}")  # JSON
# zset: the project's unsettled jobs, where they are limited. Ended ones leave it when it is full (commit.lua).
unsettled = _of("th:unsettled:{project}")
jobs_on = _of_two("th:jobs-on:{project}:{day}")  # how many jobs the project made on that day, where they are limited
# hash: `held` and `spent` of the project's budget of a month, in millionths of a US dollar
money = _of_two("th:money:{project}:{month}")
awaiting = _of("th:awaiting:{project}")  # set: the project's jobs that wait for an operator's approval
# stream: the records of the project that have changed, the newest 5,000 (project_events.py)
project_events = _of("th:project-events:{project}")

# ---- metrics

COUNTS = "th:counts"  # hash: family and labels → count (tally.py)
COUNTED_PROJECTS = "th:counted-projects"  # zset: project in the order in which they were counted first

# ---- webhooks

ATTEMPTS = "th:delivery-attempts"  # hash: outcome → attempts ever made
event = _of("th:event:{event_id}")  # JSON
delivery = _of("th:delivery:{delivery_id}")  # record
attempts = _of("th:attempts:{delivery_id}")  # list: every attempt, JSON, in order
rest = _of("th:rest:{receiver}")  # exists while the receiver throttles: until it expires, no delivery is sent to it
# how the receiver's last attempt ended (model/webhook.py: ReceiverState), with an expiry
receiver_state = _of("th:receiver:{receiver}")
job_deliveries = _of("th:job-deliveries:{job_id}")  # zset: the job's deliveries → when they were made, ms
endpoint = _of("th:endpoint:{endpoint_id}")  # record
endpoints = _of("th:endpoints:{project}")  # zset: the project's webhook endpoints by age
# hash: enabled endpoint → JSON of URL and event types: one read finds an event's receivers
subscriptions = _of("th:subscriptions:{project}")
# zset: the endpoint's deliveries → when they were made, ms
endpoint_deliveries = _of("th:endpoint-deliveries:{endpoint_id}")
# zset: those of the endpoint's deliveries that were given up → when they were made, ms
failed_deliveries = _of("th:failed-deliveries:{endpoint_id}")
# zset: delivery of a pull endpoint that is not over → when it may be handed out (again), ms
pull = _of("th:pull:{endpoint_id}")
pulls = _of("th:pulls:{project}")  # zset: the project's pull endpoints → when each goes unless it is read, ms
# The endpoint that took the URL `pull:<name>` in the last minute (store/endpoints.py).
pull_name = _of_two("th:pull-name:{project}:{url}")
announced = _of("th:told:{subject}")  # what was announced last about a subject that has no record of its own
