"""Hostile use, measured: `make attack`. Random requests by schemathesis, planted secrets, and load that only waits."""
