#!/usr/bin/env python3
"""probe_endpoint.py LOG ANSWER

A token endpoint for requests that are not RFC 6749. Listens on 127.0.0.1 and prints `ready PORT`. To every
request it answers 200 with the text of the file ANSWER as it is then, in which `@N@` stands for the number
of the request, and appends one JSON line to LOG: {"method", "path", "headers", "body"}, names of headers
in lower case. Serves until SIGTERM.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    log = answer = None
    count = 0

    def log_message(self, *_args):
        pass

    def serve(self):
        Handler.count += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        entry = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        text = Path(self.answer).read_text(encoding="utf-8").replace("@N@", str(Handler.count)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = serve


def main(log, answer):
    Handler.log, Handler.answer = log, answer
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"ready {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
