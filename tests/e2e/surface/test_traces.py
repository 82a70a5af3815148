"""One trace of a whole job, as an OpenTelemetry collector gets it."""

from tests.e2e.surface.conftest import Visitor
from tests.e2e.surface.test_following import MODEL, ended
from tests.fakes.collector import Seen
from tests.fakes.datasets import dataset
from tests.fakes.patience import eventually
from tests.fakes.receiver import running_receiver

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{CALLER}-01"


async def test_a_job_is_one_trace_from_its_request_to_its_webhook(visitor: Visitor) -> None:
    collector = visitor.place.collector
    async with running_receiver() as receiver:
        file = await visitor.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
        job = await visitor.client.fine_tuning.jobs.create(
            training_file=file.id,
            model=MODEL,
            extra_body={"callback_url": receiver.url},
            extra_headers={"traceparent": HEADER},
        )
        found = await ended(visitor, job.id)
        hook, *_ = await receiver.wait()

        async def spans() -> dict[str, Seen]:
            return {span.name: span for span in collector.spans if span.trace == TRACE}

        seen = await eventually(spans, lambda by_name: "deliver" in by_name and "settle" in by_name)
    assert found["tunehook"]["trace_id"] == TRACE
    assert set(seen) == {"accept", "upload", "create", "settle", "deliver"}
    accept = seen["accept"]
    assert accept.parent == CALLER
    assert {span.parent for name, span in seen.items() if name != "accept"} == {accept.id}
    assert {name: span.service for name, span in seen.items()} == {
        "accept": "tunehook-api",
        "upload": "tunehook-worker",
        "create": "tunehook-worker",
        "settle": "tunehook-worker",
        "deliver": "tunehook-worker",
    }
    assert seen["create"].attributes["tunehook.job.id"] == job.id
    if not seen["create"].failed:  # on a machine that stood still, another try has made it
        assert seen["create"].attributes["tunehook.upstream.job.id"] == found["tunehook"]["upstream_job_id"]
    assert seen["settle"].attributes["tunehook.status"] == "succeeded"
    assert hook.headers["traceparent"] == f"00-{TRACE}-{seen['deliver'].id}-01"


async def test_a_poll_is_a_trace_of_its_own_that_links_to_the_jobs_it_saw(visitor: Visitor) -> None:
    collector = visitor.place.collector
    file = await visitor.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    job = await visitor.client.fine_tuning.jobs.create(training_file=file.id, model=MODEL)
    trace = (await ended(visitor, job.id))["tunehook"]["trace_id"]

    async def settled() -> list[Seen]:
        return [span for span in collector.spans if span.trace == trace and span.name == "settle"]

    [settle] = await eventually(settled, bool)

    async def polls() -> list[Seen]:
        return [span for span in collector.spans if span.name == "poll" and trace in span.links]

    for poll in await eventually(polls, bool):
        assert poll.parent == ""
        assert poll.trace != trace
    assert set(settle.links) & {poll.trace for poll in await polls()}


async def test_no_span_has_a_key_or_words_of_a_dataset(visitor: Visitor) -> None:
    file = await visitor.client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    job = await visitor.client.fine_tuning.jobs.create(training_file=file.id, model=MODEL)
    await ended(visitor, job.id)

    async def bodies() -> list[bytes]:
        return [body for body in visitor.place.collector.bodies if job.id.encode() in body]

    await eventually(bodies, bool)
    for body in visitor.place.collector.bodies:
        for secret in (visitor.caller.key, visitor.caller.callback_secret, "sk-simulated", "birdwatcher"):
            assert secret.encode() not in body
