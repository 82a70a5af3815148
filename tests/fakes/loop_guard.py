"""A blocking call of ours on the event loop is an error: `with nothing_blocks(): …` (BlockBuster).

Only calls that have a frame of our own programs below them count; what tests and neighbours do is theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from blockbuster import blockbuster_ctx

OURS = ["tunehook", "service", "trainer"]
#: (function, file, functions of it), and why it may block there.
ALLOWED = [
    # redis-py reads its own METADATA on each new connection, to tell the server its version.
    ("io.BufferedReader.read", "importlib/metadata/__init__.py", "read_text"),
    ("io.TextIOWrapper.read", "importlib/metadata/__init__.py", "read_text"),
    ("io.TextIOWrapper.read", "/pathlib.py", "read_text"),
    ("os.stat", "importlib/metadata/__init__.py", "search"),
    ("os.listdir", "importlib/metadata/__init__.py", "children"),
    ("io.BufferedReader.read", "redis/utils.py", "get_lib_version"),
    ("os.stat", "redis/utils.py", "get_lib_version"),
    ("os.listdir", "redis/utils.py", "get_lib_version"),
    # httpx2 guesses a type from a file's name (once: mimetypes looks for its tables) and reads the open file
    # that an upload is: 512 MB of it keep the loop's lag below 10 ms.
    ("os.stat", "mimetypes.py", "init"),
    ("io.BufferedReader.read", "mimetypes.py", "read"),
    ("io.TextIOWrapper.read", "mimetypes.py", "readfp"),
    ("io.BufferedReader.read", "httpx2/_multipart.py", "render_data"),
]


@contextmanager
def nothing_blocks() -> Iterator[None]:
    with blockbuster_ctx(OURS) as guard:
        for function, file, name in ALLOWED:
            guard.functions[function].can_block_in(file, name)
        yield
