"""What the programs of ours import, imported once. For the process of tests/fakes/forked.py that forks alone."""

import gc
from importlib import import_module

from tests.fakes.forked import end_with_parent

PROGRAMS = ("simulator.app", "service.app", "service.connections", "worker.supervisor")
COMMANDS = ("cli.backup", "cli.import_jobs", "cli.restore", "cli.retrain")

for name in PROGRAMS + COMMANDS:
    import_module(name)
end_with_parent()
gc.collect()
gc.freeze()  # or each fork's collections would copy these pages
