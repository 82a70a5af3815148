"""A blocking call of ours on the event loop is an error: `with nothing_blocks(): …` (BlockBuster).

Only calls that have a frame of our own programs below them count; what tests and neighbours do is theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx

OURS = ["tunehook", "service", "trainer"]
#: (function, file, functions of it), and why it may block there.
ALLOWED = [
    # Tables of a few kB, each read once.
    ("io.TextIOWrapper.read", "/pathlib.py", "read_text"),
    # httpx2 guesses a type from a file's name (once: mimetypes looks for its tables).
    ("os.stat", "mimetypes.py", "init"),
    ("io.BufferedReader.read", "mimetypes.py", "read"),
    ("io.TextIOWrapper.read", "mimetypes.py", "readfp"),
]


@contextmanager
def nothing_blocks() -> Iterator[None]:
    with blockbuster_ctx(OURS) as guard:
        for function, file, name in ALLOWED:
            guard.functions[function].can_block_in(file, name)
        yield
