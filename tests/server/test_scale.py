"""test_scale.py: two servers behind HAProxy, with the configuration of examples/scale; one is killed,
one drained; see harness.py."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import wire
from callers import begin, expect, listen, usual_messages
from harness import SOURCE, WORK, Server, run_tests, skip_all
from wire import AUDIO, Caller, Closed


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(condition, what):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


def sessions(server):
    return server.metrics()["moshi_sessions"]


def is_up(port, name):
    """HAProxy's own view, from its socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(port))
        s.sendall(b"show stat\n")
        data = b""
        while piece := s.recv(65536):
            data += piece
    rows = [line.split(",") for line in data.decode().splitlines()]
    return any(r[:2] == ["servers", name] and any(field.startswith("UP") for field in r) for r in rows)


def finish(caller):
    for message in usual_messages():
        caller.send(AUDIO, message)
    expect(listen(caller)[0])
    caller.close()


def test_haproxy():
    ports, front, control = [free_port(), free_port()], free_port(), WORK / "haproxy.sock"
    options = ["--sessions", "2", "--queue", "1", "--drain", "60", "--static", "none"]
    a, b = (Server(*options, "--port", str(p)).ready() for p in ports)
    config = SOURCE / "examples/scale/haproxy.cfg"
    (WORK / "stats.cfg").write_text(f"global\n  stats socket {control}\n")
    env = {**os.environ, "MOSHI_BIND": f"127.0.0.1:{front}", "MOSHI_A": f"127.0.0.1:{ports[0]}",
           "MOSHI_B": f"127.0.0.1:{ports[1]}", "MOSHI_CALLERS": "3"}
    with open(WORK / "haproxy.log", "wb") as log:
        proxy = subprocess.Popen(["haproxy", "-db", "-f", config, "-f", WORK / "stats.cfg"], env=env, stdout=log, stderr=log)
    try:
        wait_for(lambda: control.exists() and is_up(control, "a") and is_up(control, "b"), "both are up")
        assert wire.http(front, "/metrics")[0] == 404 and wire.http(front, "/healthz")[0] == 200
        callers = [Caller(front) for _ in range(2)]
        for caller in callers:
            begin(caller)
        assert sessions(a) == sessions(b) == 1, "not evenly"
        a.kill()
        a.end([])
        lost = []
        for caller in callers:
            try:
                finish(caller)
            except (Closed, OSError):
                lost.append(caller)
        assert len(lost) == 1, f"{len(lost)} of two are lost with one of two servers"
        wait_for(lambda: not is_up(control, "a"), "a is down")
        again = Caller(front)                           # the other one takes him
        begin(again)
        assert sessions(b) == 1
        a = Server(*options, "--port", str(ports[0])).ready()
        wait_for(lambda: is_up(control, "a"), "a is up again")
        b.process.send_signal(signal.SIGTERM)
        wait_for(lambda: not is_up(control, "b"), "b drains")
        late = Caller(front)
        begin(late)
        assert sessions(a) == 1, "a caller went to the server that drains"
        finish(again)                                   # and its conversation goes on
        finish(late)
        assert b.end([]) == 0
        assert a.end() == 0
    finally:
        proxy.terminate()
        proxy.wait(30)
        for server in a, b:
            if server.process.poll() is None:
                server.process.kill()


if __name__ == "__main__":
    os.environ["PATH"] += ":/usr/sbin"
    sys.exit(run_tests(globals()) if shutil.which("haproxy") else skip_all("there is no haproxy"))
