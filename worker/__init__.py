"""The worker program: the scheduler enqueues what is due, RQ carries it, steps call `tunehook`."""
