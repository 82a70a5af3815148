"""What schemathesis loads (SCHEMATHESIS_HOOKS): keys and ids that exist in its requests, and two more checks.

Without ids that exist, nearly every request ends at a 404. ATTACK_PLACE names a JSON file: see `fuzz.Place`.
"""

import atexit
import json
import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemathesis

from tests.contract.checker import Contract

_place = json.loads(Path(os.environ["ATTACK_PLACE"]).read_text("utf-8"))
_contract = Contract.load()
_random = random.Random(_place["seed"])  # noqa: S311
_ids: dict[str, list[str]] = defaultdict(list, {name: list(ids) for name, ids in _place["ids"].items()})
_tally: Counter[str] = Counter()
#: The parameter of a path that an object's id is good for, by the object's kind.
_PARAMETERS = {
    "file": "file_id",
    "fine_tuning.job": "fine_tuning_job_id",
    "upload": "upload_id",
    "webhook_endpoint": "webhook_endpoint_id",
    "webhook_delivery": "delivery_id",
    "api_key": "key_id",
}
_FILES = ("training_file", "validation_file")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Signs the request (one in ten with a wrong key or none) and puts ids that exist into half of the requests."""
    admin = case.operation.path.startswith("/v1/admin/")
    key = _place["admin_key"] if admin else _place["key"]
    draw = _random.random()
    if draw < 0.1:
        key = _random.choice([*_place["other_keys"], "th_aaaaaa_" + "a" * 43, "nonsense", ""])
    case.headers["Authorization"] = f"Bearer {key}"
    for name in list(case.path_parameters or {}):
        if _ids[name] and _random.random() < 0.5:
            case.path_parameters[name] = _random.choice(_ids[name])
    if isinstance(case.body, dict):
        for name in _FILES:
            if name in case.body and _ids["file_id"] and _random.random() < 0.7:
                case.body[name] = _random.choice(_ids["file_id"])
    if case.query and str(case.query.get("wait", "0")).strip().isdecimal():
        case.query["wait"] = "0"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    _tally[str(response.status_code)] += 1
    if response.status_code == 200 and response.headers.get("content-type", [""])[0].startswith("application/json"):
        answer = response.json()
        name = _PARAMETERS.get(answer.get("object", "")) if isinstance(answer, dict) else None
        if name and isinstance(answer.get("id"), str):
            _ids[name] = [*_ids[name][-40:], answer["id"]]


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """On a busy machine, Redis may take longer than a second: the contract's 503 is counted, and is no failure."""
    return not (response is not None and response.status_code == 503 and b'"store_unavailable"' in response.content)


@schemathesis.check
def contract(ctx: Any, response: Any, case: Any) -> None:
    """Holds the answer against the contract as our own tests do: strict JSON, whole numbers, closed objects."""
    headers = {name: values[0] for name, values in response.headers.items()}
    if response.request.method != "HEAD":
        path = urlsplit(response.request.url).path
        _contract.check_response(response.request.method, path, response.status_code, headers, response.content)


@schemathesis.check
def secrets(ctx: Any, response: Any, case: Any) -> None:
    """No answer has one of the planted secrets."""
    answer = str(response.headers).encode() + response.content
    assert not [place for place, secret in _place["secrets"].items() if secret.encode() in answer]


@atexit.register
def _write() -> None:
    Path(_place["tally"]).write_text(json.dumps(_tally), "utf-8")
