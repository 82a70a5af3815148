"""HTTP in, HTTP out: read, call, write."""
