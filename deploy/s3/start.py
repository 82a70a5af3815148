"""Runs moto's server, with a bucket named `tunehook`, until it is stopped."""

import signal
import urllib.request

from moto.server import ThreadedMotoServer

PORT = 5000

server = ThreadedMotoServer("0.0.0.0", PORT)  # noqa: S104  it is reached from other containers
server.start()
bucket = urllib.request.Request(f"http://127.0.0.1:{PORT}/tunehook", method="PUT")
urllib.request.urlopen(bucket, timeout=60).close()  # noqa: S310
print("S3 is listening on port", PORT)  # noqa: T201
signal.sigwait({signal.SIGTERM, signal.SIGINT})
