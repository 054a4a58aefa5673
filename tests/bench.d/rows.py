"""The rows of tests/bench: each function measures one and yields lines of the table.

A bar is a promise about a ratio or a figure; a line says how far the measurement is from it, in
either direction of the truth.
"""

import contextlib
import os
import subprocess
import threading
import time
from collections import namedtuple
from pathlib import Path

from lab import EXPIRED_MS, FAR_MS, LOOPS, Trouble, median, now_ns, pin
from peer import ACCOUNT, Peer

Line = namedtuple("Line", "measure mine baseline ratio bar verdict")

READER = "groq"  # the profile whose valid key is read
OTHER = "mistral"  # another provider's, to be written meanwhile
DELTA_MS = 5
FSYNC_DELAY_US = 2_000_000
ROTATED = 10  # profiles that are rotated; the least store has as many
IDLE_S = 10
MEMORY_BAR = 4 * 1024 * 1024


def show_ns(ns):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(ns) >= size:
            return f"{ns / size:.3g} {unit}" if abs(ns) < 1000 * size else f"{ns / size:.0f} {unit}"
    return f"{ns:.0f} ns"


def show_bytes(count):
    return f"{count / 1024 / 1024:.2f} MB"


def at_most(value, bar):
    return "met" if value <= bar else f"missed by {value / bar - 1:.0%}"


def at_least(value, bar):
    return "met" if value >= bar else f"missed by {1 - value / bar:.0%}"


def ratio_line(measure, mine, baseline, bar, show=show_ns):
    ratio = mine / baseline
    return Line(
        measure,
        show(mine),
        show(baseline),
        f"{ratio:.2f}",
        f"≤ {bar}" if bar else "-",
        at_most(ratio, bar) if bar else "-",
    )


def best_loop(samples, figure):
    return min((getattr(samples[loop], figure), loop) for loop in LOOPS)


def read(lab):
    """open+read+read+close of a valid key."""
    blocks, rounds = (10, 7) if lab.quick else (40, 25)
    options = ("-b", str(blocks), "-n", "500")
    cpus = sorted(os.sched_getaffinity(0))
    connecting, socket = lab.agent()
    keeping, kept = lab.agent()
    ram = Path(f"/dev/shm/{lab.temp.name}")
    ram.write_bytes(b"t" * 100)
    try:
        with lab.piauth(lab.new_store()) as p:
            p.set_key(READER)
            targets = {
                "piauth": f"file:{p.path(READER)}",
                **lab.nothing_targets(),
                "agent": f"sock:{socket}",
                "kept": f"conn:{kept}",
                "tmpfs": f"file:{ram}",
            }
            # Where the two processes run changes every figure: on one CPU a request is a context
            # switch, on two it wakes a CPU that may sleep. Unpinned is what users get: either.
            places = [(", on one CPU", cpus[:1], cpus[:1])]
            if len(cpus) > 1:
                places.append((", on two CPUs", cpus[1:2], cpus[:1]))
            servers = p.pids() + [connecting.pid, keeping.pid]
            servers += [lab.nothing(loop)[0].pid for loop in LOOPS]
            for where, server_cpus, reader_cpus in places:
                pin(servers, server_cpus)
                got = lab.reader("pair", targets, *options, cpus=reader_cpus)
                yield from read_lines(got, where)
            pin(servers, cpus)
            yield from read_lines(lab.fresh_readers(targets, rounds, 500), "")
    finally:
        ram.unlink()


def read_lines(got, where):
    mine = got["piauth"]
    best, loop = best_loop(got, "p50")
    yield ratio_line(f"read{where}: do-nothing mount ({loop})", mine.p50, best, 0.7)
    yield ratio_line(f"read{where}: socket agent", mine.p50, got["agent"].p50, 1.3)
    yield ratio_line(f"read{where}: agent, kept connection", mine.p50, got["kept"].p50, None)
    yield ratio_line(f"read{where}: file in tmpfs", mine.p50, got["tmpfs"].p50, None)
    best, loop = best_loop(got, "p99")
    yield ratio_line(f"read{where}, p99: do-nothing mount ({loop})", mine.p99, best, None)


def oidc(lab):
    """A whole `cat` against a whole `oidc-token`."""
    peer = Peer(lab)
    os.environ["OIDC_SOCK"] = peer.env["OIDC_SOCK"]
    with lab.piauth(lab.new_store()) as p:
        p.set_key(READER)
        targets = {"piauth": f"exec:cat {p.path(READER)}", "oidc": f"exec:oidc-token {ACCOUNT}"}
        got = lab.reader("pair", targets, "-b", "10", "-n", "10" if lab.quick else "40")
    yield ratio_line("cat: oidc-token", got["piauth"].p50, got["oidc"].p50, None)
    yield ratio_line("cat, p99: oidc-token", got["piauth"].p99, got["oidc"].p99, None)


def rate(lab):
    """Reads a second of four readers."""
    with lab.piauth(lab.new_store()) as p:
        p.set_key(READER)
        targets = {"piauth": f"file:{p.path(READER)}", **lab.nothing_targets()}
        got = lab.reader("rate", targets, "-p", "4", "-b", "3" if lab.quick else "9", "-t", "500")
    best, loop = max((got[loop], loop) for loop in LOOPS)
    ratio = got["piauth"] / best
    yield Line(
        f"4 readers: do-nothing mount ({loop})",
        f"{got['piauth']}/s",
        f"{best}/s",
        f"{ratio:.2f}",
        "≥ 0.9",
        at_least(ratio, 0.9),
    )


def herd(lab):
    """10,000 readers wait for the refresh of one expired token."""
    readers = 2000 if lab.quick else 10_000
    rounds = 1 if lab.quick else 3
    release = lab.provider.request_file(
        lab.temp / "release", "/ctl/herd/release", "{}", "application/json"
    )
    theirs = {loop: [] for loop in LOOPS}
    ours = []
    with lab.piauth(lab.new_store()) as p:
        for _ in range(rounds):
            for loop in LOOPS:
                theirs[loop].append(nothing_herd(lab, loop, readers))
            lab.provider.control("POST", "herd/reset")
            lab.provider.control("POST", "herd", {"mode": "hang", "times": 1})
            p.set_login("herd", lab.provider.login("herd", EXPIRED_MS))
            trigger = ("-c", f"{lab.provider.port}:{release}")
            got = lab.herd(readers, p.path("herd"), p.waiting_file(), *trigger)
            requests = lab.provider.control("GET", "herd")["requests"]
            ours.append((got, requests))
    requests = max(r for _, r in ours)
    failed = max(got.failed for got, _ in ours)
    distinct = max(got.distinct for got, _ in ours)
    good = requests == 1 and failed == 0 and distinct == 1
    yield Line(
        f"{readers} readers of an expired token",
        f"{requests} refresh, {failed} failed",
        "-",
        "-",
        "1, 0",
        "met" if good else f"missed: {distinct} different answers",
    )
    best, loop = min((median([h.p99 for h in theirs[loop]]), loop) for loop in LOOPS)
    mine = median([got.p99 for got, _ in ours])
    yield ratio_line(f"{readers} readers, p99: do-nothing ({loop})", mine, best, 1.3)
    best, loop = min((median([h.p50 for h in theirs[loop]]), loop) for loop in LOOPS)
    mine = median([got.p50 for got, _ in ours])
    yield ratio_line(f"{readers} readers, p50: do-nothing ({loop})", mine, best, None)


def nothing_herd(lab, loop, readers):
    """A do-nothing mount lets one herd go, so each gets its own."""
    mount = lab.directory("herd")
    words = [lab.build / "nothing", loop, mount, "READY_FD", "herd"]
    process = lab.spawn("nothing", words, True)
    waiting = lab.fusectl() / str(os.minor(os.stat(mount).st_dev)) / "waiting"
    try:
        return lab.herd(readers, mount / "p/key", waiting, "-s", process.pid)
    finally:
        lab.end(process)


def stalled_line(measure, quiet, stalled):
    """Compares the slowest read of each round; a median keeps single hiccups out of the verdict."""
    before, during = median([s.max for s in quiet]), median([s.max for s in stalled])
    delta_ms = (during - before) / 1e6
    return Line(
        measure,
        f"slowest {show_ns(during)}, p50 {show_ns(median([s.p50 for s in stalled]))}",
        f"slowest {show_ns(before)}, p50 {show_ns(median([s.p50 for s in quiet]))}",
        f"{delta_ms:+.2f} ms",
        f"< {DELTA_MS} ms",
        at_most(max(delta_ms, 0), DELTA_MS),
    )


def stall(lab):
    """Reads of a valid key while the provider of another one does not answer."""
    rounds, ms = (2, 500) if lab.quick else (7, 1500)
    quiet, stalled = [], []
    with lab.piauth(lab.new_store()) as p:
        p.set_key(READER)
        target = {"key": f"file:{p.path(READER)}"}
        for _ in range(rounds):
            with lab.watch(target, ms, 200) as result:
                pass
            quiet.append(result["key"])
            lab.provider.control("POST", "stall/reset")
            lab.provider.control("POST", "stall", {"mode": "hang", "times": 1})
            p.set_login("stall", lab.provider.login("stall", EXPIRED_MS))
            waiter = threading.Thread(target=reads_in_the_end, args=(p, "stall"))
            with lab.watch(target, ms, 200) as result:
                waiter.start()
                lab.provider.control("GET", "stall/wait?hanging=1&timeout=30")
            stalled.append(result["key"])
            still = lab.provider.control("GET", "stall")["hanging"]
            lab.provider.control("POST", "stall/release")
            waiter.join()
            if not still:
                raise Trouble("the provider did not stall for the whole measurement")
    yield stalled_line("another provider stalls", quiet, stalled)


def reads_in_the_end(piauth, profile):
    """What becomes of the reader that waits is not this row's business."""
    with contextlib.suppress(OSError):
        piauth.read(profile)


def fsync(lab):
    """Reads of a valid key while a disk takes 2 s to make another one durable."""
    rounds = 1 if lab.quick else 3
    quiet, stalled = [], []
    store = lab.new_store()
    with lab.piauth(store) as p:
        p.set_key(READER)
    inject = f"inject=fsync,fdatasync,syncfs:delay_enter={FSYNC_DELAY_US}"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e"]
    strace += ["trace=fsync,fdatasync,syncfs", "-e", inject]
    with lab.piauth(store, strace) as p:
        target = {"key": f"file:{p.path(READER)}"}
        for _ in range(rounds):
            with lab.watch(target, FSYNC_DELAY_US // 1000 + 500, 200) as result:
                pass
            quiet.append(result["key"])
            # A process of its own: a write that waits here must not wait with our thread.
            with lab.watch(target, FSYNC_DELAY_US // 1000 + 500, 200) as result:
                start = now_ns()
                command = ["sh", "-c", 'echo sk-benchmark > "$1"', "sh", p.path(OTHER, "api-key")]
                writer = subprocess.Popen(command)
            stalled.append(result["key"])
            status = writer.wait()
            if status != 0:
                raise Trouble(f"writing a key failed (exit {status})")
            if now_ns() - start < FSYNC_DELAY_US * 1000:
                raise Trouble("fsync was not slowed down")
    yield stalled_line("fsync takes 2 s", quiet, stalled)


def rotate(lab):
    """What a rotation costs beyond the time of the provider."""
    many = 1000 if lab.quick else 10_000
    passes = 3 if lab.quick else 12
    request = lab.provider.request_file(
        lab.temp / "request",
        "/a/plain/token",
        "grant_type=client_credentials&client_id=bench&client_secret=bench",
        "application/x-www-form-urlencoded",
    )
    costs = {}
    for count in (ROTATED, many):
        mine, server, disk = [], [], []
        with lab.piauth(lab.store_of(count)) as p:
            targets = {
                "piauth": f"each:{ROTATED}:{p.mount}/bench@r%/key",
                "server": f"post:{lab.provider.port}:{request}",
                "disk": f"fsync:{lab.disk / 'block'}",
            }
            for _ in range(passes):
                lab.provider.control("POST", "bench/reset")
                for n in range(ROTATED):
                    p.set_login(f"bench@r{n}", lab.provider.login("bench", EXPIRED_MS))
                got = lab.reader("pair", targets, "-b", str(ROTATED), "-n", "1")
                refreshed = lab.provider.control("GET", "bench")["ok"]
                if refreshed != ROTATED:
                    raise Trouble(f"{ROTATED} reads of expired tokens made {refreshed} refreshes")
                for figures, name in ((mine, "piauth"), (server, "server"), (disk, "disk")):
                    figures.append(got[name].p50)
        costs[count] = median(mine) - median(server)
        yield ratio_line(
            f"rotation beyond the server's {show_ns(median(server))}, {count} profiles: one fsync",
            costs[count],
            median(disk),
            3,
        )
    yield ratio_line(f"rotation, {many} profiles: {ROTATED}", costs[many], costs[ROTATED], 1.3)


def private_bytes(pids):
    """Memory that these processes have for themselves, shared pages counted by their share."""
    total = resident = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, amount, *_ = line.split()
            if name in ("Pss_Anon:", "Pss_Shmem:", "SwapPss:"):
                total += int(amount) * 1024
            elif name == "Rss:":
                resident += int(amount) * 1024
    return total, resident


def wake_ups(pids):
    count = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            for line in status.read_text().splitlines():
                if "ctxt_switches" in line:
                    count += int(line.split()[1])
    return count


def memory(lab):
    """Private memory with 100 profiles, all of which have been read."""
    with lab.piauth(lab.store_of(100)) as p:
        for n in range(100):
            p.read(f"groq@p{n}")
        mine, mine_rss = private_bytes(p.pids())
        processes = len(p.pids())
    measure = f"private memory, 100 profiles, {processes} process(es)"
    verdict = at_most(mine, MEMORY_BAR)
    try:
        theirs, theirs_rss = private_bytes(Peer(lab).pids())
    except Trouble as trouble:
        yield Line(measure, show_bytes(mine), str(trouble), "-", "≤ 4 MB", verdict)
        return
    ratio = f"{mine / theirs:.2f}"
    peer = f"oidc-agent {show_bytes(theirs)}"
    yield Line(measure, show_bytes(mine), peer, ratio, "≤ 4 MB", verdict)
    measure = "resident memory (with libraries): oidc-agent"
    yield ratio_line(measure, mine_rss, theirs_rss, None, show_bytes)


def idle(lab):
    """Wake-ups of all threads while nobody reads."""
    seconds = 3 if lab.quick else IDLE_S
    with lab.piauth(lab.store_of(100)) as p:
        p.set_login("bench", lab.provider.login("bench", FAR_MS))
        for profile in ("groq@p0", "bench"):
            p.read(profile)
        time.sleep(1)  # what follows a read (audit, spinning) is not idleness
        before = wake_ups(p.pids())
        time.sleep(seconds)
        count = wake_ups(p.pids()) - before
    verdict = "met" if count == 0 else f"missed by {count / seconds:.1f} per s"
    yield Line("idle wake-ups", f"{count} in {seconds} s", "-", "-", "0", verdict)


def start(lab):
    """From starting the program to the first key in hand."""
    for count, bar_ms in ((100, 30), (1000 if lab.quick else 10_000, 300)):
        store = lab.store_of(count)
        times = []
        for _ in range(3 if lab.quick else 7):
            begin = now_ns()
            with lab.piauth(store) as p:
                p.read("groq@p0")
                times.append(now_ns() - begin)
        yield Line(
            f"start to first read, {count} profiles",
            show_ns(median(times)),
            "-",
            "-",
            f"≤ {bar_ms} ms",
            at_most(median(times), bar_ms * 1e6),
        )


def kill(_lab):
    """Not yet: it needs a worker that can be replaced under its mount."""
    yield Line("worker killed 1,000 times", "-", "-", "-", "0 failed", "later")


def baselines(lab):
    """The do-nothing mounts, agents and files alone; needs no piauth."""
    _, socket = lab.agent()
    _, kept = lab.agent()
    targets = {
        **lab.nothing_targets(),
        "agent": f"sock:{socket}",
        "kept": f"conn:{kept}",
        "fsync": f"fsync:{lab.disk / 'block'}",
    }
    blocks = ("-b", "10", "-n", "100") if lab.quick else ("-b", "40", "-n", "300")
    for name, got in lab.reader("pair", targets, *blocks).items():
        figures = f"p50 {show_ns(got.p50)}, p99 {show_ns(got.p99)}"
        yield Line(f"baseline: {name}", "-", figures, "-", "-", "-")
    for name, got in lab.reader("rate", lab.nothing_targets(), "-b", "3", "-t", "300").items():
        yield Line(f"baseline: 4 readers, {name}", "-", f"{got}/s", "-", "-", "-")
    for loop in LOOPS:
        got = nothing_herd(lab, loop, 2000 if lab.quick else 10_000)
        figures = f"p50 {show_ns(got.p50)}, p99 {show_ns(got.p99)}"
        yield Line(f"baseline: herd of {got.readers}, {loop}", "-", figures, "-", "-", "-")


ROWS = {
    row.__name__: row
    for row in (read, oidc, rate, herd, stall, fsync, rotate, kill, memory, idle, start, baselines)
}
DEFAULT = [name for name in ROWS if name != "baselines"]
WITHOUT_PIAUTH = {"kill", "baselines"}
