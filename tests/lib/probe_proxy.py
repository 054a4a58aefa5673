#!/usr/bin/env python3
"""probe_proxy.py LOG [STATUS]

An HTTP proxy on 127.0.0.1: forwards requests with an absolute address, and tunnels CONNECT. Prints
`ready PORT`; appends one JSON line to LOG for every request: {"line", "headers"}. With STATUS it refuses
everything with that status. Serves until SIGTERM.
"""

import json
import signal
import socket
import socketserver
import sys
import threading
from urllib.parse import urlsplit


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone; the caller closes both


class Handler(socketserver.StreamRequestHandler):
    log = refusal = None

    def handle(self):
        line = self.rfile.readline().decode().strip()
        headers = {}
        while text := self.rfile.readline().decode().strip():
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        if not line:
            return
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"line": line, "headers": headers}) + "\n")
        if self.refusal:
            self.wfile.write(f"HTTP/1.1 {self.refusal} No\r\nContent-Length: 0\r\n\r\n".encode())
        elif line.startswith("CONNECT "):
            self.tunnel(line.split()[1])
        else:
            self.forward(line, headers)

    def tunnel(self, target):
        host, _, port = target.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port)), 10) as upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self.wfile.flush()
            back = threading.Thread(target=pump, args=(upstream, self.connection))
            back.start()
            pump(self.connection, upstream)
            back.join()

    def forward(self, line, headers):
        method, url, version = line.split()
        parts = urlsplit(url)
        body = self.rfile.read(int(headers.get("content-length", 0)))
        head = [f"{method} {parts.path or '/'} {version}"]
        head += [f"{k}: {v}" for k, v in headers.items() if not k.startswith("proxy-")]
        head += ["connection: close", "", ""]
        with socket.create_connection((parts.hostname, parts.port or 80), 10) as upstream:
            upstream.sendall("\r\n".join(head).encode() + body)
            pump(upstream, self.connection)


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def main(log, refusal=None):
    Handler.log, Handler.refusal = log, refusal
    proxy = Proxy(("127.0.0.1", 0), Handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"ready {proxy.server_address[1]}", flush=True)
    proxy.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
