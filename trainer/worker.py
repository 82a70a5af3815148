"""`python -m trainer.worker`: trains what is due in one slot. `python -m trainer` starts one for each."""

from trainer.settings import from_environment
from trainer.turns import work

if __name__ == "__main__":
    work(from_environment())
