"""Servers that tests talk to over real sockets: somebody else's side, run by us."""
