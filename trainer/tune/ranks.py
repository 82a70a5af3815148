"""Ranks: one job on several GPUs, a process for each. `python -m trainer.tune.ranks <job folder>` is one of them.

The training process launches them and keeps the folder's lock. Rank 0 alone writes to the folder.
"""

import os
import sys
from pathlib import Path

from trainer.tune.folder import Folder
from trainer.work import OUT_OF_MEMORY, WORKER, end_with_parent


def count(slot: str, batch_size: int) -> int:
    """Returns how many ranks train a job: as many as the slot has devices, but each gets an equal part of a batch."""
    devices = slot.count(",") + 1
    return max(ranks for ranks in range(1, devices + 1) if batch_size % ranks == 0)


def launch(folder: Path, ranks: int) -> int:
    """Runs a job's ranks to their end; if one dies, the others are ended. Returns the exit status: 0, 75 or 1."""
    from accelerate.commands.launch import launch_command, launch_command_parser  # noqa: PLC0415  (two seconds)
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415

    os.environ[WORKER] = str(os.getpid())
    options = f"--multi_gpu --num_processes {ranks} --num_machines 1 --main_process_port 0"
    options += " --mixed_precision no --dynamo_backend no --log_dir /dev/null --module trainer.tune.ranks"
    try:
        launch_command(launch_command_parser().parse_args([*options.split(), str(folder)]))
    except ChildFailedError as error:
        died = {failure.exitcode for failure in error.failures.values()}
        return OUT_OF_MEMORY if OUT_OF_MEMORY in died else 1
    return 0


def main() -> int:
    end_with_parent(int(os.environ[WORKER]))
    # Eight seconds: first of all it must end with its parent.
    from torch import distributed  # noqa: PLC0415

    from trainer.tune.training import run  # noqa: PLC0415

    status = run(Folder(Path(sys.argv[1]), rank=int(os.environ["RANK"]), ranks=int(os.environ["WORLD_SIZE"])))
    if status == 0 and distributed.is_initialized():  # its threads may abort a process that ends with them
        distributed.destroy_process_group()
    return status


if __name__ == "__main__":
    sys.exit(main())
