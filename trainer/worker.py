"""`python -m trainer.worker`: trains what is due in one slot. `python -m trainer` starts one for each.

`python -m trainer.worker <job's id>` trains that job: Ray starts it so.
"""

import sys

from trainer.settings import from_environment
from trainer.turns import work
from trainer.work import train

if __name__ == "__main__":
    if sys.argv[1:]:
        train(sys.argv[1])
    else:
        work(from_environment())
