"""What is sent wrongly is refused with a 400 that names the member; never with a 5xx."""

from pathlib import Path

import aiohttp
import openai
import pytest

from tests.contract.servers.conftest import MODEL, SERVERS, Server, running
from tests.fakes.valkey import Valkey


def _body(**members: object) -> dict[str, object]:
    return {"model": MODEL, "training_file": "FILE", **members}


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"training_file": "FILE"}, "model", "missing_required_parameter"),
        ({"model": MODEL}, "training_file", "missing_required_parameter"),
        (_body(callback_url="https://x.example"), "callback_url", "unknown_parameter"),
        (_body(model=["a"]), "model", "invalid_type"),
        (_body(model="gpt-5"), "model", "model_not_available"),
        (_body(training_file="file-none"), "training_file", "invalid_value"),
        (_body(training_file="VISION"), "training_file", "invalid_file_purpose"),
        (_body(validation_file="file-none"), "validation_file", "invalid_value"),
        (_body(suffix=""), "suffix", "string_below_min_length"),
        (_body(suffix="x" * 65), "suffix", "string_above_max_length"),
        (_body(seed=-1), "seed", "integer_below_min_value"),
        (_body(seed=True), "seed", "invalid_type"),
        (_body(hyperparameters={"n_epochs": 0}), "hyperparameters.n_epochs", "integer_below_min_value"),
        (_body(hyperparameters={"n_epochs": 51}), "hyperparameters.n_epochs", "integer_above_max_value"),
        (_body(hyperparameters={"n_epochs": 1.5}), "hyperparameters.n_epochs", "invalid_type"),
        (_body(hyperparameters={"batch_size": 257}), "hyperparameters.batch_size", "integer_above_max_value"),
        (_body(hyperparameters={"beta": 1}), "hyperparameters.beta", "unknown_parameter"),
        (_body(method={"type": "ppo"}), "method.type", "invalid_value"),
        (
            _body(method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 2.1}}}),
            "method.dpo.hyperparameters.beta",
            "decimal_above_max_value",
        ),
        (_body(method={"type": "dpo", "supervised": {}}), "method.supervised", "invalid_value"),
        (_body(method={"type": "reinforcement"}), "method.reinforcement", "missing_required_parameter"),
        (_body(hyperparameters={}, method={"type": "supervised"}), "hyperparameters", "invalid_value"),
        (_body(metadata={f"k{n}": "v" for n in range(17)}), "metadata", "object_above_max_properties"),
        (_body(metadata={"k" * 65: "v"}), "metadata", "string_above_max_length"),
        (_body(metadata={"k": "v" * 513}), "metadata.k", "string_above_max_length"),
        (_body(metadata={"k": 1}), "metadata.k", "invalid_type"),
        (_body(integrations=[{"type": "wandb"}]), "integrations[0].wandb", "missing_required_parameter"),
    ],
)
async def test_a_wrong_job_is_refused(server: Server, body: dict[str, object], param: str, code: str) -> None:
    file = await server.upload()
    vision = await server.client.files.create(file=("a.png", b"png"), purpose="vision")
    names = {"FILE": file, "VISION": vision.id, MODEL: server.model}
    sent = {key: names.get(value, value) if isinstance(value, str) else value for key, value in body.items()}
    with pytest.raises(openai.BadRequestError) as caught:
        await server.client.post("/fine_tuning/jobs", body=sent, cast_to=object)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert [job async for job in server.client.fine_tuning.jobs.list()] == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"model": NaN}',
        b'{"model": "a", "model": "b"}',
        b"\xff",
        b"[" * 100_000,
        b'{"seed": ' + b"9" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("path", ["/fine_tuning/jobs", "/chat/completions", "/uploads"])
async def test_a_senseless_body_is_a_400(server: Server, raw: bytes, path: str) -> None:
    headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(server.base_url + path, data=raw) as answer,
    ):
        assert answer.status == 400
        error = (await answer.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert "JSON body" in error["message"]
        assert answer.headers["x-request-id"].startswith("req_")


def _part(name: str, value: str, *, file: bool = False) -> str:
    extra = '; filename="t.jsonl"' if file else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n{value}\r\n'


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "nothing",
        "--b\r\nno colon\r\n\r\nx\r\n--b--",
        "--b\r\nX: " + "y" * 100_000 + "\r\n\r\nx\r\n--b--",
        _part("purpose", "fine-tune") + "--b--",
        _part("file", "{}", file=True) + "--b--",
        _part("purpose", "dreams") + _part("file", "{}", file=True) + "--b--",
        _part("purpose", "fine-tune") + _part("file", "", file=True) + "--b--",
        _part("purpose", "fine-tune") + _part("file", "{}") + "--b--",
        _part("purpose", "fine-tune") + _part("file", "{}", file=True) + _part("colour", "red") + "--b--",
        _part("purpose", "f" * 5000) + _part("file", "{}", file=True) + "--b--",
        _part("expires_after[seconds]", "10") + _part("purpose", "vision") + _part("file", "{}", file=True) + "--b--",
        _part("purpose", "fine-tune") + _part("file", "{}", file=True),
    ],
)
async def test_a_senseless_multipart_is_a_400(server: Server, raw: str) -> None:
    headers = {"Authorization": "Bearer k", "Content-Type": "multipart/form-data; boundary=b"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(server.base_url + "/files", data=raw.encode()) as answer,
    ):
        assert answer.status == 400, await answer.text()
        assert (await answer.json())["error"]["message"]
    assert [file async for file in server.client.files.list()] == []


async def test_a_dataset_has_to_be_called_jsonl(server: Server) -> None:
    with pytest.raises(openai.BadRequestError, match="Invalid extension txt"):
        await server.client.files.create(file=("train.txt", b"{}"), purpose="fine-tune")


async def test_unknown_things_are_not_found(server: Server) -> None:
    with pytest.raises(openai.NotFoundError) as job:
        await server.client.fine_tuning.jobs.retrieve("ftjob-none")
    assert (job.value.code, job.value.param) == ("fine_tune_not_found", "fine_tune_id")
    with pytest.raises(openai.NotFoundError, match="No such File object: file-none") as file:
        await server.client.files.retrieve("file-none")
    assert file.value.param == "id"
    for call in (server.client.models.retrieve("gpt-9"), server.client.models.delete("gpt-9")):
        with pytest.raises(openai.NotFoundError) as model:
            await call
        assert model.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        await server.client.get("/assistants", cast_to=object)


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"after": "no"}, {"page": "1"}])
async def test_a_wrong_query_is_a_400(server: Server, query: dict[str, str]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await server.client.get("/fine_tuning/jobs", options={"params": query}, cast_to=object)
    assert caught.value.param == next(iter(query))


@pytest.mark.parametrize("kind", SERVERS)
async def test_only_configured_keys_open(kind: str, valkey: Valkey, tmp_path: Path) -> None:
    async with running(kind, tmp_path / "data", valkey.url, keys=["sk-right"]) as server:
        with pytest.raises(openai.AuthenticationError) as caught:
            await server.client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert (await server.client.with_options(api_key="sk-right").models.list()).data


async def test_a_request_without_a_key_is_refused(server: Server) -> None:
    async with aiohttp.ClientSession() as session, session.get(server.base_url + "/models") as bare:
        assert bare.status == 401
