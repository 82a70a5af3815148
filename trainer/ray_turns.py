"""Turns by Ray Jobs, for several machines that share the data directory: Ray says which job trains next, and where."""

import shlex
import sys

import httpx2

from trainer.settings import Config
from trainer.turns import State

_SECONDS = 30.0
_STATES: dict[str, State] = {"PENDING": "waiting", "RUNNING": "running"}


class RayTurns:
    """A Ray cluster, by the Jobs API of its dashboard. Its nodes have data directory and Python at the same paths."""

    def __init__(self, config: Config) -> None:
        self._config = config
        headers = {"Authorization": f"Bearer {config.ray_token}"} if config.ray_token else {}
        no_idle = httpx2.Limits(max_keepalive_connections=0)  # so there is nothing to close
        self._http = httpx2.Client(
            base_url=config.ray, headers=headers, timeout=_SECONDS, limits=no_idle, trust_env=False
        )

    def submit(self, turn: str) -> None:
        slot = self._config.slots.split(";")[0]
        is_cpu = slot.startswith("cpu")
        given = {
            "DATA_DIR": str(self._config.data_dir),
            "CHILD": "\n".join(self._config.child),
            "MIN_FREE_BYTES": str(self._config.min_free_bytes),
        }
        words = [f"TUNEHOOK_TRAINER_{name}={shlex.quote(value)}" for name, value in given.items()]
        # Which GPUs the job has, Ray says on the node.
        words += [f"TUNEHOOK_TRAINER_SLOT={slot if is_cpu else '$CUDA_VISIBLE_DEVICES'}", shlex.quote(sys.executable)]
        body = {
            "submission_id": turn,
            "entrypoint": " ".join([*words, "-m trainer.worker", turn.rpartition("-")[0]]),
            f"entrypoint_num_{'cpus' if is_cpu else 'gpus'}": slot.count(",") + 1,
        }
        self._ask("POST", "", body)

    def state(self, turn: str) -> State:
        found = self._ask("GET", turn)
        if found.get("status") == "FAILED" and found.get("driver_exit_code"):  # else Ray or its node has failed
            return "died"
        return _STATES.get(str(found.get("status")), "none")

    def stop(self, turn: str) -> None:
        if self.state(turn) == "running":
            self._ask("POST", f"{turn}/stop")

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, object]:
        """Returns the answer; an empty one if there is no such job. Raises OSError; ConnectionError: Ray is away."""
        try:
            answer = self._http.request(method, f"/api/jobs/{path}", json=body)
        except httpx2.HTTPError as error:
            raise ConnectionError(f"Ray does not answer at {self._config.ray}: {error!r}") from error
        if answer.status_code == 404 and method == "GET":
            return {}
        if not answer.is_success:
            raise OSError(f"Ray answered {answer.status_code}: {answer.text[-500:]}")
        found = answer.json()
        return found if isinstance(found, dict) else {}
