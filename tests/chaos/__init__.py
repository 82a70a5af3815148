"""Attacks: everything is killed, cut off, stopped or filled up at every point, and what must hold is held to.

Nothing of ours knows of it. Between the programs and Redis, the upstream and the receiver stand proxies (wire.py,
web.py); they see every command and call, know whose it is, and strike before it goes out or before its answer comes in.
"""
