"""A subscriber in a container of its own: keeps every POST and shows them all to `GET /`.

Runs alone in the image, so it uses nothing but the standard library.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

received: list[dict[str, object]] = []


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        received.append({"path": self.path, "headers": headers, "body": body})
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        shown = json.dumps(received).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(shown)))
        self.end_headers()
        self.wfile.write(shown)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 9000), Receiver).serve_forever()
