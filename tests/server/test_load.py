"""test_load.py: what callers cost each other; see harness.py. In the environment:

    LOAD=N             that many talk at once; else as many as half of the machine carries, by the time that a frame takes
    LOAD_SECONDS=S     how long (60)
    LOAD_LATE=SHARE    fail when more of the frames come more than 80 ms late; without, that is told only: it is the machine's
    LOAD_OPTIONS=…     of the server
    CHURN=N            callers that come and go (100)
"""

import contextlib
import itertools
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path

import load
import wire
from callers import (TRY_AGAIN_LATER, begin, broken_frames, converse, expect, expect_close, flood_fragments, flood_pings, garbage,
                     killed, listen, never_reads, too_big, too_fast, usual_messages)
from harness import Skip, run_tests, serving, skip_all
from wire import AUDIO, Caller, Closed

MISBEHAVED = [flood_fragments, flood_pings, too_fast, too_big, never_reads, garbage, killed, broken_frames]


def same_packets(a, b):
    """Of two recordings, as far as the shorter one goes."""
    a, b = wire.packets_of(a), wire.packets_of(b)
    return min(len(a), len(b)) > 50 and all(x == y for x, y in zip(a, b))


# ---------------------------------------------------------------- neighbours

def test_neighbours():
    """What others do changes nothing for a caller: he gets the same sound."""
    with serving("--sessions", str(len(MISBEHAVED) + 1)) as server:
        alone = converse(server)
        expect(alone[0])
        failures = []

        def run(f):
            try:
                f(server.port)
            except Exception as e:                      # told below
                failures.append(f"{f.__name__}: {type(e).__name__} {e}")
        threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in MISBEHAVED]
        for t in threads:
            t.start()
        caller = Caller(server.port)
        begin(caller)
        for message in usual_messages():
            caller.send(AUDIO, message)
            time.sleep(0.02)
        beside = listen(caller)
        caller.close()
        for t in threads:
            t.join(wire.DEADLINE)
            assert not t.is_alive(), "somebody is still there"
        assert not failures, failures
        expect(beside[0])
        assert same_packets(beside[1], alone[1]), "another sound"
        server.wait_metric("moshi_sessions", 0)
        m = server.metrics()
        assert m['moshi_ended_total{reason="flood"}'] == 3, m
        assert m['moshi_ended_total{reason="slow"}'] == 1 and m["moshi_bad_input_total"] > 200, m
        expect(converse(server)[0])


# ---------------------------------------------------------------- what is left

def state_of(server):
    """(resident kB, threads, descriptors)"""
    proc = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    return int(status["VmRSS"].split()[0]), int(status["Threads"]), len(list((proc / "fd").iterdir()))


def test_churn():
    """Callers come and go, a tenth of them killed: nothing is left of them."""
    n = int(os.environ.get("CHURN", "100"))
    with serving("--sessions", "2", "--queue", "8") as server:
        def come_and_go(count):
            for i in range(count):
                if i % 10 == 0:
                    killed(server.port)
                else:
                    caller = Caller(server.port)
                    begin(caller)
                    caller.send(AUDIO, usual_messages()[0])
                    caller.close()
            server.wait_metric("moshi_sessions", 0)
        come_and_go(max(n // 3, 20))
        time.sleep(0.5)
        before = state_of(server)
        come_and_go(n)
        time.sleep(0.5)
        after = state_of(server)
        print(f"# {n} callers: kB, threads, descriptors {before} -> {after}")
        # Threads of pools come and go by themselves.
        assert after[1] <= before[1] + 4 and after[2] <= before[2] + 2, (before, after)
        # A sanitizer keeps for a while what was freed.
        assert "libasan" in os.environ.get("LD_PRELOAD", "") or after[0] <= before[0] + 3000 + 2 * n, (before, after)


# ---------------------------------------------------------------- load

def frame_time(server):
    """Seconds of a frame, of a caller who is alone."""
    expect(converse(server)[0])
    m = server.metrics()
    return m["moshi_step_seconds_sum"] / m["moshi_step_seconds_count"]


def declared_capacity():
    if "LOAD" in os.environ:
        return int(os.environ["LOAD"])
    with serving() as server:
        return max(1, min(40, int(os.cpu_count() * load.FRAME / 2 / frame_time(server) / 2)))


def misbehave(port):
    """One after the other, for ever. There is one session for them all."""
    for f in itertools.cycle(MISBEHAVED):
        with contextlib.suppress(Closed, OSError, ValueError, AssertionError):
            f(port)
        time.sleep(0.5)


def refusal_time(port):
    began = time.monotonic()
    expect_close(Caller(port), TRY_AGAIN_LATER, "full")
    return time.monotonic() - began


def report(server, talkers, seconds, processor):
    """Prints the figures; returns the share of late frames."""
    late = [x for t in talkers for x in t.lateness()]
    share = sum(x > load.FRAME for x in late) / len(late)
    m = server.metrics()
    print(f"# {len(talkers)} callers, {seconds:.0f} s: {len(late)} frames, later than the fastest by "
          + ", ".join(f"{load.percentile(late, p) * 1000:.0f} ms ({name})" for p, name in [(0.5, "median"), (0.99, "p99"), (1, "most")])
          + f"; more than 80 ms: {share:.2%}")
    print(f"# the server: {m['moshi_step_seconds_sum'] / m['moshi_frames_total'] * 1000:.1f} ms a frame, {processor / seconds:.2f} "
          f"of {os.cpu_count()} processors, "
          f"{m['moshi_late_frames_total']:.0f} of {m['moshi_frames_total']:.0f} late, "
          f"{m['moshi_skipped_milliseconds_total']:.0f} ms skipped", flush=True)
    return share


def test_load():
    """As many as the machine carries, with a mute one and one who misbehaves in every way beside them."""
    n, seconds = declared_capacity(), float(os.environ.get("LOAD_SECONDS", "60"))
    options = os.environ.get("LOAD_OPTIONS", "").split()
    with serving("--sessions", str(n + 2), "--queue", "0", *options) as server:
        talkers = [load.Talker(server.port) for _ in range(n)]
        mute, leaves = Caller(server.port), Caller(server.port)
        begin(mute)
        begin(leaves)
        refusals = [refusal_time(server.port) for _ in range(10)]
        leaves.close()
        bad = multiprocessing.Process(target=misbehave, args=(server.port,), daemon=True)
        bad.start()
        processor = -server.processor_time()
        try:
            load.talk(talkers, seconds)
            processor += server.processor_time()
        finally:
            bad.kill()
            bad.join()
        print(f"# refused in {load.percentile(refusals, 0.5) * 1000:.1f} ms (median), {max(refusals) * 1000:.1f} ms (most)")
        share, m = report(server, talkers, seconds, processor), server.metrics()
        for t in talkers:
            t.caller.close()
        mute.socket.close()
        assert m['moshi_ended_total{reason="flood"}'] >= 1 and m["moshi_bad_input_total"] > 100, m
        if m["moshi_skipped_milliseconds_total"] and "LOAD_LATE" not in os.environ:
            raise Skip("the machine has something else to do: it did not keep up")
        rounds = int((seconds - 3) / (load.ROUND * load.FRAME))
        assert all(t.answers() >= max(1, rounds) for t in talkers), [t.answers() for t in talkers]
        assert all(same_packets(t.ogg, talkers[0].ogg) for t in talkers), "another sound"
        assert share <= float(os.environ.get("LOAD_LATE", "1")), f"{share:.2%} of the frames are late"


def main():
    if float(os.environ.get("LOAD_SECONDS", "60")) > 300 and "MOSHI_TEST_FULL" not in os.environ:
        return skip_all("ten minutes: MOSHI_TEST_FULL=1 runs it")
    return run_tests(globals())


if __name__ == "__main__":
    sys.exit(main())
