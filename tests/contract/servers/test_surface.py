"""What OpenAI's client may do at each server of ours: files, uploads, lists, and the shapes of what it is shown."""

import openai
import pytest

from tests.contract.servers.conftest import Server
from tests.integration.simulator.conftest import dataset


async def test_a_file_comes_back_byte_for_byte_and_goes(server: Server) -> None:
    data, files = dataset(), server.client.files
    sent = await files.create(
        file=("train.jsonl", data), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert (sent.bytes, sent.filename, sent.status) == (len(data), "train.jsonl", "processed")
    assert sent.expires_at == sent.created_at + 3600
    assert (await files.content(sent.id)).content == data
    other = await server.upload()
    assert [file.id async for file in files.list(purpose="fine-tune")] == [other, sent.id]
    assert [file.id async for file in files.list(order="asc", limit=1)] == [sent.id, other]
    assert (await files.delete(other)).deleted
    assert [file.id async for file in files.list()] == [sent.id]
    torn = await files.retrieve(await server.upload(dataset() + b"\n{oops\n"))
    assert (torn.status, torn.status_details) == ("error", "Invalid file format. Line 13 is not a valid JSON object.")


async def test_a_file_in_parts(server: Server) -> None:
    data, uploads = dataset(4_000), server.client.uploads
    done = await uploads.upload_file_chunked(
        file=data,
        filename="big.jsonl",
        bytes=len(data),
        mime_type="application/jsonl",
        purpose="fine-tune",
        part_size=100_000,
    )
    assert done.status == "completed"
    assert done.file is not None
    assert (await server.client.files.content(done.file.id)).content == data


async def test_uploads_that_do_not_end_well(server: Server) -> None:
    uploads = server.client.uploads
    first, second = [
        await uploads.create(bytes=6, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune")
        for _ in range(2)
    ]
    parts = [(await uploads.parts.create(first.id, data=half)).id for half in (b"abc", b"def")]
    with pytest.raises(openai.BadRequestError, match="announced with 6"):
        await uploads.complete(first.id, part_ids=parts[:1])
    with pytest.raises(openai.BadRequestError, match="md5"):
        await uploads.complete(first.id, part_ids=parts, md5="0" * 32)
    with pytest.raises(openai.BadRequestError, match="No such part"):
        await uploads.complete(second.id, part_ids=parts)
    turned = await uploads.complete(first.id, part_ids=parts[::-1])
    assert turned.file is not None
    assert (await server.client.files.content(turned.file.id)).content == b"defabc"
    assert (await uploads.cancel(second.id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        await uploads.parts.create(second.id, data=b"abc")
    with pytest.raises(openai.NotFoundError, match="No such Upload object"):
        await uploads.cancel("upload-none")


async def test_jobs_are_found_by_metadata_and_by_page(server: Server) -> None:
    jobs, file = server.client.fine_tuning.jobs, await server.upload()
    names = []
    for number in range(5):
        metadata = {"n": str(number % 2), "x": "y"}
        names.append((await jobs.create(model=server.model, training_file=file, metadata=metadata)).id)
    bare = await jobs.create(model=server.model, training_file=file)
    newest = [bare.id, *reversed(names)]
    assert [job.id async for job in jobs.list(limit=2)] == newest
    assert [job.id async for job in jobs.list(metadata={"n": "1"})] == [names[3], names[1]]
    assert [job.id async for job in jobs.list(metadata={"n": "1", "x": "z"})] == []
    assert [job.id async for job in jobs.list(extra_query={"metadata": "null"})] == [bare.id]


async def test_a_job_is_shown_as_openai_does(server: Server) -> None:
    jobs = server.client.fine_tuning.jobs
    job = await jobs.create(
        model=server.model,
        training_file=await server.upload(),
        validation_file=await server.upload(),
        seed=7,
        suffix="birds",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    assert job.error is not None
    assert job.error.model_dump() == {"code": None, "message": None, "param": None}
    assert (job.object, job.seed, job.result_files, job.fine_tuned_model) == ("fine_tuning.job", 7, [], None)
    assert job.method is not None
    assert job.method.type == "supervised"
    told = [event async for event in jobs.list_events(job.id)]
    assert told[-1].message == f"Created fine-tuning job: {job.id}"
    assert [row async for row in jobs.checkpoints.list(job.id)] == []
    cancelled = await jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        await jobs.cancel(job.id)
    told = [event async for event in jobs.list_events(job.id)]
    assert (told[0].message, told[0].level) == ("Fine-tuning job cancelled", "info")
    assert len({event.id for event in told}) == len(told)


async def test_dpo_shows_its_hyperparameters_under_method_alone(server: Server) -> None:
    row = (
        b'{"input": {"messages": [{"role": "user", "content": "Hi"}]}, '
        b'"preferred_output": [{"role": "assistant", "content": "Hello"}], '
        b'"non_preferred_output": [{"role": "assistant", "content": "What"}]}'
    )
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    job = await server.client.fine_tuning.jobs.create(
        model=server.model,
        training_file=await server.upload(b"\n".join([row] * 12)),
        method=method,  # type: ignore[arg-type]
    )
    raw = job.model_dump()
    assert raw["hyperparameters"] is None
    assert raw["method"]["dpo"]["hyperparameters"]["beta"] == 0.2


async def test_models_are_listed_and_retrieved(server: Server) -> None:
    listed = [model.id async for model in server.client.models.list()]
    assert server.model in listed
    assert (await server.client.models.retrieve(server.model)).object == "model"
