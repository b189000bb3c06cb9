"""test_server.py: moshi-server and what its callers can count on; see harness.py."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time

import wire
from callers import (GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER, begin, converse, expect, expect_close, listen, question,
                     usual_messages)
from harness import ANSWER, SERVER, TINY, WORK, Server, Skip, expect_voice, run_tests, serving
from wire import AUDIO, ERROR, TEXT, Caller, Refused

# ---------------------------------------------------------------- talks

def test_conversation():
    with serving() as server:
        text, ogg = converse(server)
        expect(text)
        expect_voice(wire.decode(ogg, WORK, "reply"))
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
            assert text == f" {ANSWER}", f"{name}: it says {text!r}"


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
                        "&text_seed=8&max_steps=5&pad_mult=-1.5&repetition_penalty=1.25&repetition_penalty_context=30"
                        "&email=a%40b&unknown=1")
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
        assert texts == [f" {ANSWER}"] * 4, texts
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


def test_refusal():
    """Who is too many hears so at once, whatever the model does meanwhile."""
    with serving("--sessions", "1", "--queue", "0") as server:
        talks = Caller(server.port)
        begin(talks)
        for message in usual_messages():                # seconds of sound, which it works off as fast as it can
            talks.send(AUDIO, message)
        took = []
        for _ in range(20):
            began = time.monotonic()
            refused = Caller(server.port)
            kind, text = refused.receive()
            assert kind == ERROR and b"full" in text, (kind, text)
            expect_close(refused, TRY_AGAIN_LATER)
            took.append(time.monotonic() - began)
        print(f"# refused in {sorted(took)[10] * 1000:.1f} ms (median), {max(took) * 1000:.1f} ms (most)")
        m = server.metrics()
        assert m['moshi_refused_total{reason="full"}'] == 20 and m["moshi_talks_total"] == 1, m
        assert max(took) < 2, took                      # 100 ms are wanted; a busy machine may have more
        expect(listen(talks)[0])
        talks.close()


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


def test_silent():
    with serving("--silence", "1") as server:
        caller = Caller(server.port)
        begin(caller)
        expect_close(caller, POLICY_VIOLATION, "Nothing was heard")
        server.wait_metric("moshi_sessions", 0)


def test_slow_requests():
    """Who does not come to the point is cut off after ten seconds; a caller who says nothing yet is not."""
    def ask(first, then):
        s, began = wire.connect(server.port), time.monotonic()
        s.sendall(first)
        s.settimeout(0.5)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < began + wire.DEADLINE:
                s.sendall(then)
                with contextlib.suppress(TimeoutError):
                    if not s.recv(1000):
                        break
        s.close()
        lasted.append(time.monotonic() - began)
    lasted = []
    with serving() as server:
        caller = Caller(server.port)
        begin(caller)
        requests = [(b"", b""), (b"G", b""), (b"GET / HTTP/1.1\r\n", b"X: y\r\n"), (b"GET /api/chat HTTP/1.1\r\nUpgrade: websocket\r\n", b"")]
        threads = [threading.Thread(target=ask, args=r) for r in requests]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(lasted) == 4 and 8 < min(lasted) and max(lasted) < 30, lasted
        assert server.metrics()["moshi_slow_requests_total"] == 4
        for message in usual_messages():
            caller.send(AUDIO, message)
        expect(listen(caller)[0])
        caller.close()


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


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
