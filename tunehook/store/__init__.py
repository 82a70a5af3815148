"""The store: all of Redis' keys and scripts. The rest of the program knows none.

store.py             the facade
jobs.py, files.py …  one module per kind of record
deletion.py          removes what is old
doctor.py            finds inconsistencies
engine/              connection, commits, leases, due members, batches, Lua scripts
"""

from tunehook.store.store import Store

__all__ = ["Store"]
