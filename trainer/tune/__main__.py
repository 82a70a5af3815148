"""`python -m trainer.tune <job folder>`: train one job, or go on with it.

Exit status: 0, see `result.json` and `control`; 75, out of memory; anything else, it died and may be started again.
"""

import os
import sys
from pathlib import Path

from trainer import folders
from trainer.settings import from_environment
from trainer.tune.folder import Folder
from trainer.tune.ranks import count, launch
from trainer.work import end_with_parent


def main() -> int:
    end_with_parent()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    folder = Folder(Path(sys.argv[1]))
    with folder.hold() as ours:
        if not ours or folder.wish():
            return 0
        slot = from_environment().slot
        ranks = count(slot, int(folder.job().hyperparameters["batch_size"]))
        if ranks <= slot.count(","):
            words = f"The slot has {slot.count(',') + 1} devices, and the batch is divided equally among {ranks}."
            folders.tell(folder.path, words, level="warn")
        # One that saw more GPUs than it has ranks would give each a batch of its own, which multiplies the size.
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[:ranks])
        if ranks > 1:
            return launch(folder.path, ranks)
        from trainer.tune.training import run  # noqa: PLC0415  (eight seconds: the lock comes first)

        return run(folder)


if __name__ == "__main__":
    sys.exit(main())
