#!/usr/bin/env python3
"""A loopback OAuth token endpoint that misbehaves on command.

    fake_provider.py --canary MARK [--port N] [--tls CERT KEY]

prints `ready PORT` when it listens and serves until SIGTERM.  Every login lives in an account, which
is made by naming it: its token endpoint is /a/<account>/token (/token is the account "default").
Grants: refresh_token (rotation, reuse revokes the family) and client_credentials; form or JSON body.
Every token it makes contains MARK, so that a search for MARK finds a leak.

Control, JSON over the same port (GET unless said):
    POST /ctl/<account>            set some of BEHAVIOUR (below); the rest stays as it is
         /ctl/<account>            counters and the log of requests
    POST /ctl/<account>/new        mint a login: {access_token, refresh_token, expires_in}
    POST /ctl/<account>/release    let the requests that hang go on, as if the mode were ok
    POST /ctl/<account>/revoke     end every login of the account: the next refresh is invalid_grant
    POST /ctl/<account>/reset      counters to 0, BEHAVIOUR to its defaults; the logins stay
         /ctl/<account>/wait?requests=N&ok=N&hanging=N&timeout=S
                                   answers when every counter named has reached its N, 504 after S seconds
         /ctl/<account>/token?access=T    {known, current, expired}: what became of access token T
         /ctl                      {accounts: [...], stray: N}; stray counts requests to any other path
"""

import argparse
import base64
import json
import random
import secrets
import signal
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

BEHAVIOUR = {
    "mode": "ok",  # one of MODES
    "times": None,  # after so many requests the mode falls back to ok
    "status": 500,  # for mode status (and redirect, where 302 is taken unless it is a 3xx)
    "body": None,  # for modes status and garbage: an object is sent as JSON, a string as it is
    "headers": {},  # added to every answer
    "retry_after": None,  # sent as Retry-After with every answer that is not 200
    "delay_ms": 0,  # before the request is looked at
    "size": 10_000_000,  # bytes of the answer in mode big
    "expires_in": 3600,  # null leaves the field out
    "rotate": True,  # false: the refresh token stays valid for ever
    "omit_refresh": False,  # the answer has no refresh_token (only sensible with rotate false)
    "grace": False,  # the refresh token before the current one is answered with the current pair again
    "extra": {},  # fields added to a good answer
    "token_len": None,  # [least, most] length of an access token, drawn anew for each
    "jwt": None,  # claims: the access token is a JWT that carries them
}
MODES = {
    "ok": "answers",
    "hang": "waits for release, then goes on as ok",
    "lose": "refreshes (and rotates), then closes without an answer",
    "drop": "closes at once; nothing is refreshed",
    "cut": "refreshes, sends the headers and half of the body, then closes",
    "garbage": "200 with a body that is no JSON",
    "big": "refreshes, answers with `size` bytes of JSON",
    "redirect": "3xx to a path that must not be asked for (see stray)",
    "status": "answers `status` with `body`; nothing is refreshed",
}
LOG_MAX = 5000  # requests remembered per account
BODY_MAX = 1_000_000


class Refused(Exception):
    """An error answer of the token endpoint (RFC 6749 section 5.2)."""

    def __init__(self, status, error, description, result=None):
        super().__init__(error)
        self.status = status
        self.body = {"error": error, "error_description": description}
        self.result = result or error


class Family:
    """One login: the chain of refresh tokens that rotation makes of the first one."""

    def __init__(self):
        self.generation = 0
        self.revoked = False
        self.refresh = None
        self.previous = None
        self.answer = None  # the last good answer, for `grace`


class Account:
    """All methods are called with World.cond held."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.families = {}  # every refresh token ever made -> Family
        self.access = {}  # every access token ever made -> when it ends
        self.newest_access = None
        self.in_flight = 0
        self.hanging = 0
        self.releases = 0
        self.reset()

    def reset(self):
        self.behaviour = dict(BEHAVIOUR)
        self.counters = {"requests": 0, "ok": 0, "refused": 0, "reuse": 0, "minted": 0}
        self.log = []

    def configure(self, changes):
        unknown = set(changes) - set(BEHAVIOUR)
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        if changes.get("mode", "ok") not in MODES:
            raise ValueError(f"mode is none of: {', '.join(MODES)}")
        if "mode" in changes:
            self.behaviour["times"] = None
        self.behaviour.update(changes)

    def take_mode(self):
        """The mode for one request; counts `times` down."""
        mode, times = self.behaviour["mode"], self.behaviour["times"]
        if times is not None:
            if times <= 0:
                return "ok"
            self.behaviour["times"] = times - 1
        return mode

    def summary(self):
        return dict(
            self.counters,
            in_flight=self.in_flight,
            hanging=self.hanging,
            revoked=sum(f.revoked for f in set(self.families.values())),
            generation=max((f.generation for f in self.families.values()), default=0),
        )

    # tokens

    def _text(self, kind, generation, least=0):
        head = f"{self.world.canary}-{kind}-{self.name}-{generation}-"
        return head + secrets.token_hex(max(8, (least - len(head) + 1) // 2))

    def _access_token(self, generation):
        claims, length = self.behaviour["jwt"], self.behaviour["token_len"]
        if claims is not None:
            now = int(time.time())
            life = self.behaviour["expires_in"] or 0
            payload = {"iat": now, "exp": now + life, "jti": secrets.token_hex(8), **claims}
            parts = ({"alg": "RS256", "typ": "JWT"}, payload)
            signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
            return f"{signed}.{self.world.canary}{secrets.token_hex(16)}"
        if length is None:
            return self._text("at", generation)
        want = random.randint(*length)
        # The marker must survive a short length, the random end must too: two tokens are never equal.
        least = len(self.world.canary) + 17
        text = self._text("at", generation, want)
        if want < len(text) - 16:
            text = f"{self.world.canary}-{secrets.token_hex(max(want, least))}"
        return text[: max(want, least)]

    def issue(self, family=None):
        """A good answer. With a family: its next generation."""
        generation = family.generation + 1 if family else 0
        token = self._access_token(generation)
        life = self.behaviour["expires_in"]
        self.access[token] = time.time() + (life if life is not None else 3600)
        self.newest_access = token
        answer = {"access_token": token, "token_type": "Bearer"}
        if life is not None:
            answer["expires_in"] = life
        if family:
            family.generation = generation
            if self.behaviour["rotate"] or family.refresh is None:
                family.previous = family.refresh
                family.refresh = self._text("rt", generation)
                self.families[family.refresh] = family
            if not self.behaviour["omit_refresh"]:
                answer["refresh_token"] = family.refresh
            family.answer = answer
        answer.update(self.behaviour["extra"])
        return answer

    def mint(self, changes):
        """A new login, outside the token endpoint; `changes` are BEHAVIOUR for this one answer."""
        kept = dict(self.behaviour)
        try:
            self.configure(changes)
            self.behaviour["omit_refresh"] = False
            self.counters["minted"] += 1
            return self.issue(Family())
        finally:
            self.behaviour = kept

    def revoke(self):
        for family in self.families.values():
            family.revoked = True

    def grant(self, form):
        """One token request -> a good answer, or Refused."""
        kind = form.get("grant_type")
        if kind == "client_credentials":
            if not form.get("client_id") or not form.get("client_secret"):
                raise Refused(401, "invalid_client", "client_id and client_secret are needed")
            return self.issue()
        if kind != "refresh_token":
            raise Refused(400, "unsupported_grant_type", "refresh_token and client_credentials only")
        given = form.get("refresh_token")
        if not given:
            raise Refused(400, "invalid_request", "refresh_token is missing")
        family = self.families.get(given)
        if family is None:
            raise Refused(400, "invalid_grant", "refresh token not found", "unknown")
        if family.revoked:
            raise Refused(400, "invalid_grant", "the login was revoked", "revoked")
        if given != family.refresh:
            if self.behaviour["grace"] and given == family.previous:
                return family.answer
            family.revoked = True
            self.counters["reuse"] += 1
            raise Refused(400, "invalid_grant", "refresh token already used", "reuse")
        return self.issue(family)


class World:
    def __init__(self, canary):
        self.canary = canary
        self.accounts = {}
        self.stray = 0
        self.cond = threading.Condition()

    def account(self, name):
        return self.accounts.setdefault(name, Account(self, name))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece; headers and body apart would cost 40 ms of Nagle
    disable_nagle_algorithm = True
    world = None

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self.route("GET")

    def do_POST(self):
        self.route("POST")

    def route(self, method):
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        raw = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), BODY_MAX))
        try:
            if parts == ["token"] and method == "POST":
                self.token("default", raw)
            elif len(parts) == 3 and parts[0] == "a" and parts[2] == "token" and method == "POST":
                self.token(parts[1], raw)
            elif parts[0] == "ctl":
                query = {key: values[-1] for key, values in parse_qs(url.query).items()}
                self.control(method, parts[1:], query, raw)
            else:
                with self.world.cond:
                    self.world.stray += 1
                    self.world.cond.notify_all()
                self.answer(404, {"error": "no_such_path"})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client has gone; many tests kill it

    # the token endpoint

    def token(self, name, raw):
        world = self.world
        form, trouble = self.parse(raw)
        with world.cond:
            account = world.account(name)
            entry = {
                "n": account.counters["requests"] + 1,
                "time": time.time(),
                "path": self.path,
                "headers": dict(self.headers.items()),
                "body": form,
                "result": "in flight",
            }
            account.log = account.log[-LOG_MAX + 1 :] + [entry]
            account.counters["requests"] += 1
            account.in_flight += 1
            mode = account.take_mode()
            behaviour = dict(account.behaviour)
            world.cond.notify_all()
        try:
            if behaviour["delay_ms"]:
                time.sleep(behaviour["delay_ms"] / 1000)
            if mode == "hang":
                self.hang(account)
                mode = "ok"
            self.act(account, mode, behaviour, form, trouble, entry)
        finally:
            with world.cond:
                account.in_flight -= 1
                world.cond.notify_all()

    def hang(self, account):
        cond = self.world.cond
        with cond:
            seen = account.releases
            account.hanging += 1
            cond.notify_all()
            cond.wait_for(lambda: account.releases > seen)
            account.hanging -= 1

    def act(self, account, mode, behaviour, form, trouble, entry):
        """One answer in the mode given. The entry of the log tells the result before the client can know it."""
        headers = dict(behaviour["headers"])
        if mode not in ("ok", "lose", "cut", "big"):
            entry["result"] = mode
        if mode == "drop":
            self.close_connection = True
        elif mode == "garbage":
            body = behaviour["body"]
            self.answer(200, "<html><body>It works!</body></html>" if body is None else body, headers)
        elif mode == "redirect":
            status = behaviour["status"] if 300 <= behaviour["status"] < 400 else 302
            self.answer(status, "", {"Location": "/never", **headers})
        elif mode == "status":
            if behaviour["retry_after"] is not None:
                headers["Retry-After"] = str(behaviour["retry_after"])
            body = behaviour["body"]
            self.answer(behaviour["status"], {"error": "server_error"} if body is None else body, headers)
        else:
            self.grant(account, mode, behaviour, form, trouble, entry, headers)

    def grant(self, account, mode, behaviour, form, trouble, entry, headers):
        try:
            with self.world.cond:
                if trouble:
                    raise Refused(400, "invalid_request", trouble)
                good = dict(account.grant(form))
                account.counters["ok"] += 1
                entry["result"] = mode
                self.world.cond.notify_all()
        except Refused as refused:
            with self.world.cond:
                account.counters["refused"] += 1
                entry["result"] = refused.result
            if behaviour["retry_after"] is not None:
                headers["Retry-After"] = str(behaviour["retry_after"])
            self.answer(refused.status, refused.body, headers)
            return
        if mode == "lose":
            self.close_connection = True
        elif mode == "big":
            good["padding"] = "x" * max(0, behaviour["size"] - len(json.dumps(good)) - 15)
            self.answer(200, good, headers)
        else:
            self.answer(200, good, headers, cut=mode == "cut")

    def parse(self, raw):
        """The body as a flat object, and what is wrong with it or None. HTTP Basic fills in the client."""
        kind = (self.headers.get("Content-Type") or "").split(";")[0].strip().lower()
        form, trouble = {}, None
        try:
            if kind == "application/json":
                form = json.loads(raw)
                if not isinstance(form, dict):
                    form, trouble = {}, "the body is no object"
            elif kind == "application/x-www-form-urlencoded":
                fields = parse_qs(raw.decode(), keep_blank_values=True, strict_parsing=bool(raw))
                form = {key: values[0] for key, values in fields.items()}
                if any(len(values) > 1 for values in fields.values()):
                    trouble = "a parameter stands twice"
            else:
                trouble = f"content type {kind or '(none)'}"
        except ValueError:
            trouble = "the body does not parse"
        scheme, _, blob = (self.headers.get("Authorization") or "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(blob, validate=True).decode().partition(":")
                form = {"client_id": unquote(user), "client_secret": unquote(password), **form}
            except ValueError:
                trouble = "the Authorization header does not parse"
        return form, trouble

    # the control API

    def control(self, method, parts, query, raw):
        world = self.world
        try:
            args = json.loads(raw) if raw.strip() else {}
            if method == "GET" and not parts:
                with world.cond:
                    answer = {"accounts": sorted(world.accounts), "stray": world.stray}
                self.answer(200, answer)
            elif method == "GET" and len(parts) == 2 and parts[1] == "wait":
                self.wait(world.account(parts[0]), query)
            else:
                with world.cond:
                    status, answer = self.obey(method, parts, query, args)
                    world.cond.notify_all()
                self.answer(status, answer)
        except (ValueError, TypeError) as wrong:
            self.answer(400, {"error": str(wrong)})

    def obey(self, method, parts, query, args):
        account = self.world.account(parts[0])
        verb = (method, *parts[1:])
        if verb == ("POST",):
            account.configure(args)
        elif verb == ("GET",):
            return 200, {**account.summary(), "behaviour": account.behaviour, "log": account.log}
        elif verb == ("POST", "new"):
            return 200, account.mint(args)
        elif verb == ("POST", "release"):
            account.releases += 1
        elif verb == ("POST", "revoke"):
            account.revoke()
        elif verb == ("POST", "reset"):
            account.reset()
        elif verb == ("GET", "token"):
            token = query.get("access", "")
            ends = account.access.get(token)
            return 200, {
                "known": ends is not None,
                "current": token == account.newest_access,
                "expired": ends is not None and ends <= time.time(),
            }
        else:
            return 404, {"error": f"no command {method} {'/'.join(parts[1:])}"}
        return 200, account.summary()

    def wait(self, account, query):
        timeout = float(query.pop("timeout", 30))
        wanted = {key: int(value) for key, value in query.items()}
        unknown = set(wanted) - set(account.summary())
        if unknown or not wanted:
            raise ValueError(f"no counter: {', '.join(sorted(unknown)) or 'none named'}")

        def reached():
            now = account.summary()
            return all(now[key] >= value for key, value in wanted.items())

        with self.world.cond:
            done = self.world.cond.wait_for(reached, timeout)
            answer = account.summary()
        self.answer(200 if done else 504, answer)

    # bytes

    def answer(self, status, body, headers=None, cut=False):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        kind = "text/html" if isinstance(body, str) else "application/json"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        if cut:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024  # a herd of readers must not meet a full backlog

    def __init__(self, port, tls):
        super().__init__(("127.0.0.1", port), Handler)
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*tls)

    def get_request(self):
        connection, address = super().get_request()
        if self.tls:
            # The handshake happens at the first read, in the thread of the request.
            connection = self.tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request, client_address):
        # A client that hangs up or refuses our certificate is no fault; everything else is.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--canary", required=True, help="letters and digits; part of every token")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    options = parser.parse_args()
    if not options.canary.isalnum():
        parser.error("--canary takes letters and digits only")

    Handler.world = World(options.canary)
    server = Server(options.port, options.tls)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"ready {server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
