"""test_server.py SERVER SOURCE WORK [TEST…]: moshi-server with callers good and bad. Prints TAP.

Callers say what they have to say at once, and the server answers as fast as it computes, so nothing here depends
on how fast the machine is. In the environment: CHURN=N, how many callers come and go (60); LOAD=N and LOAD_SECONDS=S, how many
talk at the speed of speech beside each other, and how long (3, 7)."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import wire
from wire import AUDIO, CONTROL, ERROR, HANDSHAKE, METADATA, TEXT, Caller, Closed, Refused

SERVER, SOURCE, WORK = (Path(a).resolve() for a in sys.argv[1:4])
TINY = SOURCE / "examples/tiny-model"
ANSWER = " Hello! Nice to meet you."
TRY_AGAIN_LATER, POLICY_VIOLATION, TOO_BIG, GOING_AWAY = 1013, 1008, 1009, 1001


class Skip(Exception):
    pass


# ---------------------------------------------------------------- a server

class Server:
    def __init__(self, *options, **environment):
        self.log = open(WORK / "server.log", "ab")
        env = {**os.environ, "XDG_DATA_HOME": str(WORK / "data"), **environment}
        self.process = subprocess.Popen([SERVER, "--port", "0", "--static", "none", *options], env=env, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1]) if line else None
        self.tls = line.startswith("Listening at https")

    def ready(self):
        while wire.http(self.port, "/readyz", tls=self.tls)[0] != 200:
            if self.process.poll() is not None:
                raise AssertionError(f"the server has ended: {self.process.returncode}")
            time.sleep(0.02)
        return self

    def metrics(self):
        """{name{labels}: value}; every line has to be well-formed."""
        status, headers, body = wire.http(self.port, "/metrics", tls=self.tls)
        assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4"), headers
        values, typed = {}, set()
        for line in body.decode().splitlines():
            if m := re.fullmatch(r"# TYPE (\w+) (counter|gauge|histogram)", line):
                assert m[1] not in typed, line
                typed.add(m[1])
            elif not line.startswith("# HELP "):
                m = re.fullmatch(r'(\w+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? ([-+.\deInf]+)', line)
                assert m and re.sub("_(bucket|sum|count)$", "", m[1]) in typed | {m[1]} and m[1] not in values, line
                values[m[1] + (m[2] or "")] = float(m[4])
        return values

    def wait_metric(self, name, wanted):
        for _ in range(600):
            if (value := self.metrics()[name]) == wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"{name} is {value}, not {wanted}")

    def end(self, signals=(signal.SIGINT,)):
        for s in signals:
            self.process.send_signal(s)
        code = self.process.wait(wire.DEADLINE)
        self.process.stdout.close()
        self.log.close()
        return code


@contextlib.contextmanager
def serving(*options, **environment):
    server = Server(*options, **environment)
    try:
        yield server.ready()
    except BaseException:
        server.process.kill()
        server.end()
        raise
    code = server.end()
    assert code == 0, f"exit code {code}"


# ---------------------------------------------------------------- a caller

def question(milliseconds=40):
    return wire.encode(TINY / "user_hello.wav", WORK, milliseconds)


def usual_messages():
    """As Kyutai's own client sends them."""
    pages = wire.headers() + wire.pages(question(), granule=lambda n: n * 1920)
    return [b"".join(pages[:4])] + [b"".join(pages[i:i + 2]) for i in range(4, len(pages), 2)]


def begin(caller):
    """Until the handshake; returns the metadata."""
    metadata = json.loads(caller.wait_for(METADATA))
    while "lm_model_file" not in metadata:
        metadata = json.loads(caller.wait_for(METADATA))
    got = caller.receive()
    assert got == (HANDSHAKE, bytes(8)), got
    return metadata


def listen(caller, seconds=6.5):
    """(text, bytes of Ogg) of the reply's first seconds."""
    text, ogg, packets = b"", b"", 0
    while packets < seconds / 0.04:
        kind, payload = caller.receive()
        if kind == AUDIO:
            packets += len(payload.split(b"OggS")) - 1
            ogg += payload
        elif kind == TEXT:
            payload.decode()
            text += payload
        else:
            raise AssertionError(f"kind {kind}: {payload}")
    return text.decode(), ogg


def converse(server, messages=None, **connection):
    caller = Caller(server.port, tls=server.tls, **connection)
    begin(caller)
    for message in messages or usual_messages():
        caller.send(AUDIO, message)
    text, ogg = listen(caller)
    caller.close()
    return text, ogg


def expect(text, wanted=ANSWER):
    assert text == wanted, f"it says {text!r}"


def expect_close(caller, code, error=None):
    """Whatever comes before the end is of no interest, but for the error message."""
    said = None
    try:
        while True:
            kind, payload = caller.receive()
            if kind == ERROR:
                said = payload.decode()
    except Closed as e:
        assert e.code == code, f"close code {e.code}, not {code}"
    assert error is None or (said and error in said), f"it says {said}"
    caller.socket.close()


# ---------------------------------------------------------------- talks

def test_conversation():
    with serving() as server:
        text, ogg = converse(server)
        expect(text)
        raw = wire.decode(ogg, WORK, "reply")
        heard = subprocess.run([sys.executable, SOURCE / "tests/examples/heard.py", raw], capture_output=True, text=True)
        assert heard.returncode == 0, heard.stdout
        pages = wire.split_pages(ogg)
        assert [p[0] for p in pages] == list(range(len(pages))), "pages are missing"
        assert all(sum(n < 255 for n in p[3]) == 1 for p in pages), "a page has several packets"
        assert [p[1] for p in pages] == [0, 0] + [1920 * (i + 1) for i in range(len(pages) - 2)], "granules"


def test_senders():
    """All packet sizes, any pages, any messages, wrong granules, no headers, other streams between."""
    def whole(pages):
        return b"".join(pages)

    def split(data, n):
        return [data[i:i + n] for i in range(0, len(data), n)]

    h, far = wire.headers(), lambda n: (1 << 62) + n
    several = {
        "web page, 20 ms": h + wire.pages(question(20), 2),
        "60 ms": [whole(h + wire.pages(question(60)))],
        "all in one message": [whole(h + wire.pages(question(), 5, far))],
        "in messages of 100 bytes": split(whole(h + wire.pages(question(), 7)), 100),
        "granules backwards": h + wire.pages(question(), 1, lambda n: -n),
        "without headers": wire.pages(question(), 3),
        "headers again": h + h + wire.pages(question()),
        "another stream's pages": h + sum(([p, wire.page(b"else", [4], serial=7)] for p in wire.pages(question())), []),
        "garbage before": [b"garbage" * 100 + b"OggS" + bytes(40)] + h + wire.pages(question()),
    }
    packets = [p for p in question(20)]
    with contextlib.suppress(ValueError):
        several["80 ms"] = h + wire.pages(question(80))
    over = whole(packets)
    lacing, at, body = sum((wire.lace(len(p)) for p in packets), []), 0, over
    continued = []
    while at < len(lacing):                             # pages that end anywhere in a packet
        some = lacing[at:at + 10]
        flags = 1 if at and lacing[at - 1] == 255 else 0
        continued.append(wire.page(body[:sum(some)], some, flags=flags, sequence=2 + len(continued)))
        body, at = body[sum(some):], at + 10
    several["packets over pages"] = h + continued
    with serving() as server:
        for name, messages in several.items():
            text, _ = converse(server, messages)
            assert text == ANSWER, f"{name}: it says {text!r}"


def test_pcm():
    samples = subprocess.run(["tail", "-c", "+45", TINY / "user_hello.wav"], capture_output=True).stdout + bytes(4 * 48000)
    with serving() as server:
        caller = Caller(server.port, "format=pcm")
        begin(caller)
        for i in range(0, len(samples), 3000):
            caller.send(AUDIO, samples[i:i + 3000])
        text, got = b"", 0
        while got < 5 * 48000:
            kind, payload = caller.receive()
            got += len(payload) if kind == AUDIO else 0
            text += payload if kind == TEXT else b""
        expect(text.decode())
        caller.close()


def test_settings():
    with serving() as server:
        caller = Caller(server.port, "text_temperature=0.5&text_topk=30&audio_temperature=0.6&audio_topk=40&audio_seed=7"
                        "&text_seed=8&max_steps=5&pad_mult=-1.5&repetition_penalty=1.25&repetition_penalty_context=30&email=a%40b&unknown=1")
        m = begin(caller)
        wanted = {"text_temperature": 0.5, "text_topk": 30, "audio_temperature": 0.6, "audio_topk": 40, "audio_seed": 7,
                  "text_seed": 8, "max_steps": 5, "pad_mult": -1.5, "repetition_penalty": 1.25, "repetition_penalty_context": 30}
        assert {k: m[k] for k in wanted} == wanted and m["build_info"] and m["instance_name"], m
        for message in usual_messages():
            caller.send(AUDIO, message)
        expect_close(caller, 1000)
        server.wait_metric('moshi_ended_total{reason="limit"}', 1)

        caller = Caller(server.port, "text_temperature=nan&text_topk=-1&audio_temperature=1e999&audio_topk=2.5&max_steps=x"
                        "&pad_mult=5&repetition_penalty=0.5&repetition_penalty_context=201")
        m = begin(caller)
        assert (m["text_temperature"], m["text_topk"], m["audio_topk"]) == (0, 25, 250) and "max_steps" not in m, m
        assert (m["pad_mult"], m["repetition_penalty"], m["repetition_penalty_context"]) == (0, 1, 64), m
        caller.close()


def test_several():
    with serving("--sessions", "4") as server:
        texts = [None] * 4

        def talk(i):
            texts[i] = converse(server)[0]
        threads = [threading.Thread(target=talk, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert texts == [ANSWER] * 4, texts
        assert server.metrics()["moshi_talks_total"] == 4


# ---------------------------------------------------------------- who may

def test_queue():
    with serving("--sessions", "1", "--queue", "2") as server:
        first = Caller(server.port)
        begin(first)
        waiting = [Caller(server.port), Caller(server.port)]
        assert json.loads(waiting[0].receive()[1])["queue_position"] == 1
        while json.loads(waiting[1].receive()[1])["queue_position"] != 2:
            pass
        refused = Caller(server.port)
        expect_close(refused, TRY_AGAIN_LATER, "full")
        assert server.metrics()["moshi_queue"] == 2
        for message in usual_messages():                # nobody listens yet
            waiting[0].send(AUDIO, message)
        first.close()
        begin(waiting[0])
        while json.loads(waiting[1].receive()[1])["queue_position"] != 1:
            pass
        for message in usual_messages():
            waiting[0].send(AUDIO, message)
        expect(listen(waiting[0])[0])
        waiting[1].socket.close()                       # gives up
        server.wait_metric("moshi_queue", 0)
        waiting[0].close()
        expect(converse(server)[0])
        assert server.metrics()['moshi_refused_total{reason="full"}'] == 1


def test_token():
    with serving("--token", "s3cret") as server:
        for query, headers in [("", []), ("token=wrong", []), ("token=", []), ("", ["Authorization: Bearer s3cre"])]:
            try:
                Caller(server.port, query, headers)
                raise AssertionError(f"let in: {query} {headers}")
            except Refused as e:
                assert e.status == 401 and "bearer" in e.headers["www-authenticate"], e
        for query, headers in [("token=s3cret", []), ("auth_id=s3cret", []), ("worker_auth_id=s3cret", []),
                               ("", ["Authorization: Bearer s3cret"]), ("", ["kyutai-api-key: s3cret"])]:
            caller = Caller(server.port, query, headers)
            begin(caller)
            caller.close()
        assert server.metrics()['moshi_refused_total{reason="token"}'] == 4


def test_origin():
    with serving("--origin", "https://a.example,https://b.example") as server:
        for origin, status in [("https://b.example", 101), ("https://c.example", 403), (None, 101)]:
            headers = [f"Origin: {origin}"] if origin else []
            try:
                Caller(server.port, headers=headers).close()
                got = 101
            except Refused as e:
                got = e.status
            assert got == status, f"{origin}: {got}"


def test_tls():
    with serving("--tls") as server:
        if not server.tls:
            raise Skip("no TLS")
        expect(converse(server)[0])
        key = WORK / "data/gst-moshi/server-key.pem"
        assert key.stat().st_mode & 0o077 == 0, "everybody may read the key"
    before = key.read_bytes()
    with serving("--tls"):
        assert key.read_bytes() == before, "another certificate"


def test_config():
    (WORK / "server.conf").write_text("[server]\nsessions=2\nqueue=0\ntls=false\ntoken=s3cret\n")
    with serving("--config", str(WORK / "server.conf"), "--sessions", "3") as server:
        m = server.metrics()
        assert (m["moshi_sessions_limit"], m["moshi_queue_limit"]) == (3, 0), m
    for options, words in [(["--sessions", "0"], "--sessions"), (["--tls-cert", "x"], "--tls-key"), (["--what"], "--what"),
                           (["x"], '"x"'), (["--config", "/nonexistent"], "/nonexistent"), (["--host", "nowhere"], "--host"),
                           (["--token-file", "/nonexistent"], "/nonexistent")]:
        done = subprocess.run([SERVER, "--port", "0", *options], capture_output=True, text=True, timeout=wire.DEADLINE)
        assert done.returncode in (1, 2) and words in done.stderr, (options, done)
    done = subprocess.run([SERVER, "--port", "0", "--model", "/nonexistent"], capture_output=True, text=True, timeout=wire.DEADLINE)
    assert done.returncode == 1 and "/nonexistent" in done.stderr, done


def test_http():
    web = WORK / "web"
    web.mkdir()
    (web / "index.html").write_text("<p>hello")
    (web / "a.js").write_text("1")
    (web / ".hidden").write_text("x")
    (WORK / "secret.txt").write_text("x")
    (web / "link.txt").symlink_to(WORK / "secret.txt")
    with serving("--static", str(web)) as server:
        for path, status, kind in [("/", 200, "text/html"), ("/a.js", 200, "text/javascript"), ("/healthz", 200, "text/plain"),
                                   ("/none", 404, None), ("/.hidden", 404, None), ("/../secret.txt", None, None),
                                   ("/%2e%2e/secret.txt", None, None), ("/link.txt", 404, None), ("/api/chat", 426, None),
                                   ("/api/chatty", 404, None), ("/metrics?x=" + "y" * 3000, 200, "text/plain")]:
            got, headers, body = wire.http(server.port, path)
            assert (got == status if status else got in (400, 404)) and body != b"x", (path, got, body)
            assert kind is None or headers["content-type"].startswith(kind), (path, headers)
        assert wire.http(server.port, "/", method="POST")[0] == 405
        with contextlib.suppress(OSError, IndexError):
            raise AssertionError(wire.http(server.port, "/", ["Content-Length: 999999999999"], "POST"))


# ---------------------------------------------------------------- who misbehaves

def flood_fragments(port):
    """A message without an end, as fast as it goes."""
    caller = Caller(port)
    caller.send_frame(b"\x01", fin=False)
    piece = bytes(60000)
    try:
        while True:
            caller.send_frame(piece, 0, False)
    except OSError:
        caller.socket.close()


def flood_pings(port):
    caller = Caller(port)
    try:
        while True:
            caller.socket.sendall(b"\x89\x80\0\0\0\0" * 10000)
    except OSError:
        caller.socket.close()


def too_fast(port):
    caller = Caller(port)
    begin(caller)
    caller.send(AUDIO, b"".join(wire.headers()))
    with contextlib.suppress(OSError):
        caller.send(AUDIO, b"".join(wire.pages([b"\x5b\x02"] * 300, 100)))      # 120 ms in two bytes
    expect_close(caller, POLICY_VIOLATION, "faster")


def too_big(port):
    caller = Caller(port)
    with contextlib.suppress(OSError):
        caller.send(AUDIO, bytes(3 << 20))
    with contextlib.suppress(Closed, OSError):
        while True:
            caller.receive()


def never_reads(port):
    caller = Caller(port, "format=pcm", buffer=2048)
    for _ in range(1000):
        try:
            caller.send(AUDIO, bytes(48000 // 25))
        except OSError:
            break
        time.sleep(0.01)
    caller.socket.close()


def garbage(port):
    caller = Caller(port)
    begin(caller)
    noise = os.urandom(2000)
    for kind in range(256):
        caller.send(kind, noise[kind:kind * 3])
    caller.send_frame(b"")
    caller.send_frame(b"text", 1)
    for n in range(20):
        caller.send(AUDIO, wire.page(noise[n:n + 200], [n] * (200 // (n + 1)), sequence=n))
    caller.send(AUDIO, b"".join(wire.headers() + wire.pages([noise[i:i + 60] for i in range(0, 1200, 60)])))
    caller.close()


def killed(port):
    caller = Caller(port)
    begin(caller)
    for message in usual_messages()[:3]:
        caller.send(AUDIO, message)
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.socket.close()


def broken_frames(port):
    for frame in [b"\x82\x05hello", b"\xf2\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x80\x81\0\0\0\0x",
                  b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"\x88\xff" + bytes(8), b"GET / HTTP/1.1\r\n\r\n"]:
        caller = Caller(port)
        with contextlib.suppress(OSError):
            caller.socket.sendall(frame)
            caller.socket.settimeout(0.2)
            while caller.socket.recv(1000):
                pass
        caller.socket.close()


def test_neighbours():
    """What others do changes nothing for a caller: he gets the same sound."""
    others = [flood_fragments, flood_pings, too_fast, too_big, never_reads, garbage, killed, broken_frames]
    with serving("--sessions", str(len(others) + 1)) as server:
        alone = converse(server)
        expect(alone[0])
        failures = []

        def run(f):
            try:
                f(server.port)
            except Exception as e:                      # told below
                failures.append(f"{f.__name__}: {type(e).__name__} {e}")
        threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in others]
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
        assert wire.packets_of(beside[1]) == wire.packets_of(alone[1])[:len(wire.packets_of(beside[1]))], "another sound"
        server.wait_metric("moshi_sessions", 0)
        m = server.metrics()
        assert m['moshi_ended_total{reason="flood"}'] == 3, m
        assert m['moshi_ended_total{reason="slow"}'] == 1 and m["moshi_bad_input_total"] > 200, m
        expect(converse(server)[0])


def test_silent():
    with serving("--silence", "1") as server:
        caller = Caller(server.port)
        begin(caller)
        expect_close(caller, POLICY_VIOLATION, "Nothing was heard")
        server.wait_metric("moshi_sessions", 0)


def state_of(server):
    """(resident kB, threads, descriptors)"""
    proc = Path(f"/proc/{server.process.pid}")
    status = dict(line.split(":\t") for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    return int(status["VmRSS"].split()[0]), int(status["Threads"]), len(list((proc / "fd").iterdir()))


def test_churn():
    """Callers come and go, a tenth of them killed: nothing is left of them."""
    n = int(os.environ.get("CHURN", "60"))
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
        assert "libasan" in os.environ.get("LD_PRELOAD", "") or after[0] <= before[0] + 2000 + 20 * n, (before, after)


def test_load():
    """Callers at the speed of speech. Late frames are told, not judged: that is the machine's."""
    n, seconds = int(os.environ.get("LOAD", "3")), float(os.environ.get("LOAD_SECONDS", "7"))
    rounds, answers = max(1, round(seconds / 7)), []
    usual_messages()                                    # made before anybody waits for it

    def talk(port):
        caller = Caller(port)
        begin(caller)
        hear = threading.Thread(target=lambda: answers.append(listen(caller, rounds * 7 - 0.5)[0]))
        hear.start()
        messages, began, sent = usual_messages(), time.monotonic(), 0
        per_round = int(7 / 0.08)                       # two packets a message
        for _ in range(rounds):
            for message in messages[:per_round]:
                time.sleep(max(0, began + sent * 0.08 - time.monotonic()))
                caller.send(AUDIO, message)
                sent += 1
        hear.join()
        caller.close()
    with serving("--sessions", str(n)) as server:
        threads = [threading.Thread(target=talk, args=(server.port,)) for _ in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        m = server.metrics()
        late, frames = m["moshi_late_frames_total"], m["moshi_frames_total"]
        print(f"# {n} callers: {late:.0f} of {frames:.0f} frames late, {m['moshi_step_seconds_sum'] / frames * 1000:.1f} ms a frame, "
              f"{m['moshi_skipped_milliseconds_total']:.0f} ms skipped")
        assert len(answers) == n and all(a.startswith(ANSWER) for a in answers), answers


# ---------------------------------------------------------------- the end

def test_drain():
    server = Server("--queue", "1", "--drain", "60").ready()
    caller, waits = Caller(server.port), Caller(server.port)
    begin(caller)
    server.process.send_signal(signal.SIGTERM)
    expect_close(waits, TRY_AGAIN_LATER, "going down")
    assert wire.http(server.port, "/readyz")[0] == 503 and wire.http(server.port, "/healthz")[0] == 200
    expect_close(Caller(server.port), TRY_AGAIN_LATER, "going down")
    for message in usual_messages():
        caller.send(AUDIO, message)
    expect(listen(caller)[0])
    caller.close()
    assert server.end([]) == 0

    server = Server("--drain", "1").ready()
    caller = Caller(server.port)
    begin(caller)
    server.process.send_signal(signal.SIGTERM)
    expect_close(caller, GOING_AWAY, "going down")
    assert server.end([]) == 0


# ---------------------------------------------------------------- main

def main():
    tests = [f for name, f in globals().items() if name.startswith("test_") and (len(sys.argv) == 4 or name[5:] in sys.argv[4:])]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    print(f"1..{len(tests)}", flush=True)
    failed = False
    for i, test in enumerate(tests, 1):
        name, began = test.__name__.removeprefix("test_"), time.monotonic()
        try:
            test()
            print(f"ok {i} {name} # {time.monotonic() - began:.1f} s", flush=True)
        except Skip as e:
            print(f"ok {i} {name} # SKIP {e}", flush=True)
        except Exception as e:                          # every kind is a failure
            failed = True
            import traceback
            print(f"not ok {i} {name}\n# " + "".join(traceback.format_exception(e)).replace("\n", "\n# "), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
