"""The closest peer, Debian's oidc-agent, with one account at the same local provider."""

import json
import os
import shutil
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from lab import Trouble, family, run

ACCOUNT = "peer"


class Discovery(BaseHTTPRequestHandler):
    """oidc-agent asks for the issuer's metadata (OpenID Connect Discovery 1.0 section 4) first."""

    token_endpoint = None

    def do_GET(self):
        issuer = f"http://127.0.0.1:{self.server.server_address[1]}/"
        body = json.dumps(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}authorize",
                "token_endpoint": self.token_endpoint,
                "scopes_supported": ["openid", "offline_access"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "response_types_supported": ["code"],
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args):
        pass


class Peer:
    """A running oidc-agent; `env` is what its clients need."""

    def __init__(self, lab):
        if not shutil.which("oidc-agent"):
            raise Trouble("oidc-agent is not installed (Debian: oidc-agent-cli)")
        handler = type("PeerDiscovery", (Discovery,), {"token_endpoint": lab.provider.url(ACCOUNT)})
        server = HTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lab.stack.callback(server.shutdown)

        home = lab.directory("peer")
        self.env = {"PATH": os.environ["PATH"], "BENCH_PASSWORD": "benchmark"}
        self.env.update(HOME=str(home), TMPDIR=str(home))
        started = json.loads(run("oidc-agent", "--json", env=self.env))
        self.pid = int(started["dpid"])
        lab.stack.callback(os.kill, self.pid, signal.SIGTERM)
        self.env["OIDC_SOCK"] = started["socket"]
        login = lab.provider.control("POST", f"{ACCOUNT}/new")
        run(
            "oidc-gen",
            ACCOUNT,
            "--manual",
            f"--issuer=http://127.0.0.1:{server.server_address[1]}/",
            "--client-id=bench",
            "--client-secret=bench",
            f"--rt={login['refresh_token']}",
            "--flow=refresh",
            "--pw-env=BENCH_PASSWORD",
            "--scope=openid offline_access",
            "--redirect-uri=http://localhost:4242",
            "--prompt=none",
            "--confirm-default",
            env=self.env,
            stdin=subprocess.DEVNULL,
        )
        run("oidc-token", ACCOUNT, env=self.env)

    def pids(self):
        return family(self.pid)
