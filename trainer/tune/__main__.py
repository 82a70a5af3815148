"""`python -m trainer.tune <job folder>`: train one job, or go on with it.

Exit status: 0, see `result.json` and `control`; 75, out of memory; anything else, it died and may be started again.
"""

import os
import sys
from pathlib import Path

from trainer.tune.folder import Folder
from trainer.work import end_with_parent


def main() -> int:
    end_with_parent()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # One GPU a job: with several in sight, transformers would give each its own batch, which multiplies the size.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    folder = Folder(Path(sys.argv[1]))
    with folder.hold() as ours:
        if not ours or folder.wish():
            return 0
        from trainer.tune.training import run  # noqa: PLC0415  (eight seconds: the lock comes first)

        return run(folder)


if __name__ == "__main__":
    sys.exit(main())
