"""What the rows of tests/bench stand on: builds, baselines, the provider, mounts of piauth.

Everything that is started is registered with the Lab's ExitStack, so that leaving it stops the
processes, removes the mounts and deletes the files, whatever happened in between.
"""

import contextlib
import http.client
import json
import os
import random
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
LOOPS = ("single", "mt", "clone")
READY_S = 120  # a start under a slowed-down fsync takes several times 2 s
STOP_S = 20
EXPIRED_MS = 1_600_000_000_000
FAR_MS = 4_000_000_000_000

Sample = namedtuple("Sample", "count p50 p99 max")  # nanoseconds
Herd = namedtuple("Herd", "readers failed distinct p50 p99 max")


class Trouble(Exception):
    """A row could not be measured; the text says why."""


def run(*words, **options):
    """A command that must succeed; its output is shown only if it does not."""
    words = [str(word) for word in words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-600:]
        raise Trouble(f"{words[0]}: exit {done.returncode}: {said}")
    return done.stdout


def wait_ready(process, fd, what, log=None):
    """Waits for the byte that a server writes when it serves."""
    ready, _, _ = select.select([fd], [], [], READY_S)
    byte = os.read(fd, 1) if ready else b""
    os.close(fd)
    if not byte:
        end = f"exit {process.wait(STOP_S)}" if ready else f"silent for {READY_S} s"
        tail = Path(log).read_text(errors="replace")[-600:].strip() if log else ""
        raise Trouble(f"{what} did not start ({end}): {tail}")


def family(pid):
    """pid and all its descendants."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo[-1])
        todo.extend(children.get(todo.pop(), []))
    return found


def pin(pids, cpus):
    """Every thread of pids runs on cpus from now on."""
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(task), cpus)


class Provider:
    """tests/fake_provider.py and its control API."""

    def __init__(self, lab):
        program = TOP / "tests/fake_provider.py"
        command = [sys.executable, program, "--canary", "benchmark"]
        self.process = lab.spawn("provider", command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().split()
        if len(line) != 2 or line[0] != "ready":
            raise Trouble("tests/fake_provider.py did not start")
        self.port = int(line[1])

    def url(self, account):
        return f"http://127.0.0.1:{self.port}/a/{account}/token"

    def control(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            text = json.dumps(body or {}) if method == "POST" else None
            connection.request(method, f"/ctl/{path}", text)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise Trouble(f"provider: {method} /ctl/{path}: {answer.status} {text[:200]}")
        return json.loads(text)

    def login(self, account, expires_ms):
        """A login of the account as an entry in pi's auth.json format."""
        new = self.control("POST", f"{account}/new")
        return {
            "type": "oauth",
            "access": new["access_token"],
            "refresh": new["refresh_token"],
            "expires": expires_ms,
        }

    def request_file(self, path, url_path, body, kind):
        """The bytes of one POST, for the measuring client."""
        head = (
            f"POST {url_path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        path.write_text(head + body, newline="")
        return path


class Piauth:
    """One running `piauth mount`."""

    def __init__(self, lab, store, prefix=()):
        self.lab = lab
        self.mount = lab.directory("mnt")
        self.log = lab.temp / f"{self.mount.name}.log"
        readable, writable = os.pipe()
        command = [*prefix, lab.binary, "mount", "-f", "--ready-fd", writable, "--no-migrate"]
        command += ["--store", store, "--key-file", f"{store}.key", "--config", lab.config]
        command.append(self.mount)
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writable],
            )
        os.close(writable)
        try:
            wait_ready(self.process, readable, "piauth mount", self.log)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        # Under strace the first process is strace, which hands nothing on: unmounting ends both.
        subprocess.run(["umount", self.mount], capture_output=True, check=False)
        if self.process.poll() is None and os.path.basename(self.process.args[0]) != "strace":
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in family(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            self.process.wait()
        subprocess.run(["umount", "-l", self.mount], capture_output=True, check=False)

    def pids(self):
        return family(self.process.pid)

    def path(self, profile, node="key"):
        return self.mount / profile / node

    def write(self, profile, node, text):
        fd = os.open(self.path(profile, node), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def set_key(self, profile):
        self.write(profile, "api-key", f"benchmark-{profile}-".ljust(100, "k"))

    def set_login(self, profile, entry):
        self.write(profile, "oauth", json.dumps(entry))

    def read(self, profile):
        return self.path(profile).read_bytes()

    def waiting_file(self):
        return self.lab.fusectl() / str(os.minor(os.stat(self.mount).st_dev)) / "waiting"


class Lab:
    def __init__(self, quick):
        self.quick = quick
        self.stack = contextlib.ExitStack()
        self.build = Path(os.environ.get("BENCH_BUILD", TOP / "build-bench")).resolve()
        self.stores = {}
        self.loops = {}
        self._provider = None
        self._fusectl = None
        self._numbers = iter(range(1_000_000))

    def __enter__(self):
        self.build.mkdir(parents=True, exist_ok=True)
        # Stores lie beside the build, on a disk: /tmp is often memory, where fsync is free.
        self.disk = Path(tempfile.mkdtemp(prefix="run.", dir=self.build))
        self.stack.callback(shutil.rmtree, self.disk, ignore_errors=True)
        self.temp = Path(tempfile.mkdtemp(prefix="piauth-bench."))
        self.stack.callback(shutil.rmtree, self.temp, ignore_errors=True)
        return self

    def __exit__(self, *_):
        self.stack.close()

    # builds

    def compile(self):
        """The measuring programs and the baselines."""
        fuse = run("pkg-config", "--cflags", "--libs", "fuse3").split()
        sources = {
            "nothing": ["nothing.c"],
            "agent": ["agent.c"],
            "reader": ["reader.c", "target.c"],
            "herd": ["herd.c", "target.c"],
        }
        for name, files in sources.items():
            flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread"]
            libs = fuse if name == "nothing" else []
            run("cc", *flags, *(HERE / f for f in files), "-o", self.build / name, *libs)

    def compile_piauth(self):
        """A release build of piauth, the one that users get."""
        directory = self.build / "piauth"
        if not (directory / "build.ninja").exists():
            run("meson", "setup", directory, TOP, "--buildtype=release", "-Dtests=false")
        run("ninja", "-C", directory)
        found = [p for p in (directory / "piauth", directory / "fs/piauth") if p.is_file()]
        if not found:
            raise Trouble(f"no program named piauth in {directory}")
        self.binary = found[0]
        self.config = self.disk / "config.json"
        names = ("bench", "herd", "stall")
        oauth = {"client_id": "bench", "token_request": "form", "rotates": True}
        providers = {n: {"oauth": {"token_endpoint": self.provider.url(n), **oauth}} for n in names}
        self.config.write_text(json.dumps({"providers": providers}))
        self.config.chmod(0o600)

    # processes

    def directory(self, name):
        path = self.temp / f"{name}{next(self._numbers)}"
        path.mkdir(mode=0o700)
        return path

    def spawn(self, what, words, ready=False, **options):
        """Starts a server that lives as long as the lab; with `ready` it says so on READY_FD."""
        words = [str(word) for word in words]
        if not ready:
            process = subprocess.Popen(words, **options)
            self.stack.callback(self.end, process)
            return process
        readable, writable = os.pipe()
        words = [str(writable) if word == "READY_FD" else word for word in words]
        process = subprocess.Popen(words, pass_fds=[writable], **options)
        self.stack.callback(self.end, process)
        os.close(writable)
        wait_ready(process, readable, what)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def provider(self):
        if not self._provider:
            self._provider = Provider(self)
        return self._provider

    def nothing(self, loop):
        """(process, path of its key) of the do-nothing mount in one of libfuse's loops."""
        if loop not in self.loops:
            mount = self.directory("nothing")
            words = [self.build / "nothing", loop, mount, "READY_FD"]
            self.loops[loop] = (self.spawn("nothing", words, True), mount / "p/key")
        return self.loops[loop]

    def nothing_targets(self):
        return {loop: f"file:{self.nothing(loop)[1]}" for loop in LOOPS}

    def agent(self):
        """(process, path of its socket) of a bare agent."""
        path = self.directory("agent") / "socket"
        return self.spawn("agent", [self.build / "agent", path, "READY_FD"], True), path

    def fusectl(self):
        """A fusectl of our own: not every machine has it mounted."""
        if not self._fusectl:
            self._fusectl = self.directory("ctl")
            run("mount", "-t", "fusectl", "none", self._fusectl)
            self.stack.callback(run, "umount", self._fusectl)
        return self._fusectl

    def piauth(self, store, prefix=()):
        return Piauth(self, store, prefix)

    def new_store(self):
        return self.disk / f"store{next(self._numbers)}"

    def store_of(self, count):
        """A store with the keys groq@p0 ... groq@p<count - 1>; made once for each count."""
        if count not in self.stores:
            store = self.new_store()
            with self.piauth(store) as p, ThreadPoolExecutor(8) as pool:
                for _ in pool.map(p.set_key, (f"groq@p{n}" for n in range(count))):
                    pass
            self.stores[count] = store
        return self.stores[count]

    # measuring

    def reader(self, mode, targets, *options, cpus=None):
        """Runs the measuring client to its end; {name: Sample} (pair, watch) or {name: rate}."""
        prefix = ["taskset", "-c", ",".join(map(str, sorted(cpus)))] if cpus else []
        words = [f"{name}={what}" for name, what in targets.items()]
        output = run(*prefix, self.build / "reader", mode, *options, *words)
        return parse(output)

    def fresh_readers(self, targets, rounds, times):
        """Like reader("pair"), with a process of its own for every target in every round.

        Where the scheduler leaves a client decides what it measures next; two equal servers that
        are read by one unpinned process differ up to twofold, by fresh ones within a tenth or two.
        """
        found = {name: [] for name in targets}
        for _ in range(rounds):
            for name in random.sample(list(targets), len(targets)):
                options = ("-b", "1", "-n", str(times))
                found[name].append(self.reader("pair", {name: targets[name]}, *options)[name])
        return {name: Sample(*map(median, zip(*samples))) for name, samples in found.items()}

    @contextlib.contextmanager
    def watch(self, targets, ms, gap_us):
        """Reads the targets while the body of the `with` runs; what it yields is filled after."""
        command = [str(self.build / "reader"), "watch", "-t", str(ms), "-g", str(gap_us)]
        command += [f"{name}={what}" for name, what in targets.items()]
        result = {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            if process.stdout.readline() != "started\n":
                raise Trouble("the measuring client did not start")
            yield result
            output = process.stdout.read()
            if process.wait() != 0:
                raise Trouble("the measuring client failed")
        result.update(parse(output))

    def herd(self, readers, path, waiting, *trigger):
        output = run(self.build / "herd", "-n", readers, "-w", waiting, *trigger, path)
        return Herd(*map(int, output.split()))


def parse(output):
    found = {}
    for line in output.splitlines():
        name, *numbers = line.split()
        found[name] = Sample(*map(int, numbers)) if len(numbers) > 1 else int(numbers[0])
    return found


def median(numbers):
    return statistics.median(numbers)


def now_ns():
    return time.monotonic_ns()
