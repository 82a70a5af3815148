"""What a create at Fireworks says: our request with Fireworks' members. Pure."""

from __future__ import annotations

from typing import Any

from tunehook.model.job import JobSpec
from tunehook.upstreams.fireworks_dialect import DPO, SUPERVISED
from tunehook.upstreams.lacking import unsupported
from tunehook.upstreams.members import Raw
from tunehook.upstreams.options import asked_of

#: Members of a job that stand beside `trainingConfig` in a DPO job; all others stand in it.
_BESIDE_CONFIG = frozenset({"wandbConfig", "reservationTarget", "useReservation", "rendererHuggingFaceRepoId"})


def dataset_name(account_id: str, name: str) -> str:
    """Returns the full name of a dataset of the account. A full name stays as it is."""
    return name if "/" in name else f"accounts/{account_id}/datasets/{name}"


def collection(spec: JobSpec) -> str:
    """Returns the collection of a job with that method."""
    return DPO if spec.kind == "dpo" else SUPERVISED


def create_body(
    upstream: str, spec: JobSpec, tag: str, *, training: str, validation: str | None, options: Raw
) -> dict[str, Any]:
    """Returns the body of a create. `training`, `validation`: full names. `options`: Fireworks' own members.

    Raises UpstreamUnsupported for what Fireworks does not have.
    """
    asked, dpo = asked_of("fireworks", upstream, spec), spec.kind == "dpo"
    if dpo and validation:
        instead = "Leave the validation file out."
        raise unsupported(upstream, "validation file for the method dpo", instead, param="validation_file")
    config: dict[str, Any] = {}
    if "n_epochs" in asked:
        config["epochs"] = asked["n_epochs"]
    if "batch_size" in asked:
        config["batchSizeSamples"] = asked["batch_size"]
    config |= {name: value for name, value in options.items() if name not in _BESIDE_CONFIG}
    config["baseModel"] = spec.model
    beside = {name: value for name, value in options.items() if name in _BESIDE_CONFIG}
    body = {**beside, "dataset": training, "displayName": (spec.suffix or tag)[:63]}
    if dpo:
        loss = {"method": "DPO", "dpo": {"beta": _beta(upstream, asked.get("beta", 0.1))}}
        return {**body, "lossConfig": loss, "trainingConfig": config}
    return {**config, **body} | ({"evaluationDataset": validation} if validation else {})


def _beta(upstream: str, beta: float) -> float:
    if not 0 < beta < 0.5:
        instead = "Its beta is above 0 and below 0.5."
        raise unsupported(upstream, f"beta of {beta:g}", instead, param="method.dpo.hyperparameters.beta")
    return beta
