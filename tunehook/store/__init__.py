"""Every Redis key and script, and nothing else in the program knows one.

store.py        the connection, time, leases, what is due
commit.py       one change of one record, with all that must happen in the same breath
jobs.py …       the records
*.lua           what Redis itself decides
"""

from tunehook.store.store import Store

__all__ = ["Store"]
