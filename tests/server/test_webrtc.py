"""test_webrtc.py: conversations by WebRTC, without a browser, and the token link; see harness.py, whose CLIENT is
the program "visitor" here."""

import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

import wire
from callers import GOING_AWAY, POLICY_VIOLATION, TRY_AGAIN_LATER, begin, converse, expect
from harness import ANSWER, CLIENT, TINY, WORK, Server, Skip, expect_voice, run_tests, serving, skip_all, start, stop, until
from wire import Caller, Closed, Refused

TOKENS = CLIENT.parent / "tokens"
LOOPBACK = ("--ice-address", "127.0.0.1")
CONNECT_WITHIN = 20     # s


class Signaller(Caller):
    """The WebSocket of /api/webrtc, which speaks JSON."""

    def __init__(self, port, query="", headers=()):
        super().__init__(port, query, headers, path="/api/webrtc")

    def say(self, message):
        self.send_frame(json.dumps(message).encode(), 1)

    def next(self):
        while True:
            opcode, payload = self.frame()
            if opcode == 8:
                code = struct.unpack(">H", payload[:2])[0] if len(payload) >= 2 else None
                raise Closed(code, payload[2:].decode())
            if opcode == 9:
                self.send_frame(payload, 10)
            elif opcode == 1:
                return json.loads(payload)

    def wait(self, kind):
        while True:
            message = self.next()
            if message["type"] == kind:
                return message

    def expect_end(self, code, error=None):
        said = None
        try:
            while True:
                message = self.next()
                if message["type"] == "error":
                    said = message["message"]
        except Closed as e:
            assert e.code == code, f"close code {e.code} {e.reason}, not {code}"
        assert error is None or (said and error in said), f"it says {said}"
        self.socket.close()


def visit(server, *options, name="visitor", seconds=60, query=""):
    """(process, log, recording) of a visitor who asks."""
    out = WORK / f"{name}.wav"
    process, log = start(name, [CLIENT, f"ws://127.0.0.1:{server.port}/api/webrtc{query}", "--in", TINY / "user_hello.wav",
                                "--out", out, "--seconds", str(seconds), *LOOPBACK, *options])
    return process, log, out


def words_of(log):
    return " ".join(re.findall(r"^word (\S+)$", log.read_text(), re.M))


def expect_answer(server, process, log, out):
    """He is in the present: where the machine is slower than speech, there is no answer to wait for."""
    for _ in range(200):
        if words_of(log) == ANSWER:
            break
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    time.sleep(2)                                       # the end of its voice
    said = words_of(log)
    skipped = server.metrics()["moshi_skipped_milliseconds_total"]
    assert stop(process) == 0, log.read_text()
    if said != ANSWER and skipped:
        raise Skip(f"the server had to leave out {skipped:.0f} ms")
    assert said == ANSWER, log.read_text()
    expect_voice(out)


# ---------------------------------------------------------------- talks

def test_conversation():
    """Words, voice and lag; and what the server counts."""
    with serving(*LOOPBACK) as server:
        process, log, out = visit(server, query="?audio_seed=1&text_seed=1")
        expect_answer(server, process, log, out)
        lags = [int(x) for x in re.findall(r"^lag (-?\d+) ms$", log.read_text(), re.M)]
        assert len(lags) >= 10 and min(lags) >= 0, lags
        settings = json.loads(re.search("^server (.*)$", log.read_text(), re.M)[1])
        assert settings["settings"]["audio_seed"] == 1 and settings["ice_servers"] == [], settings
        print(f"# lag in the server: {min(lags)} to {max(lags)} ms")
        server.wait_metric("moshi_sessions", 0)
        metrics = server.metrics()
        assert metrics["moshi_talks_total"] == 1 and metrics['moshi_ended_total{reason="caller"}'] == 1, metrics


def test_beside_others():
    """Two by WebRTC and one by WebSocket at once."""
    with serving("--sessions", "3", *LOOPBACK) as server:
        visits = [visit(server, name=f"visitor{i}") for i in range(2)]
        expect(converse(server)[0])
        for one in visits:
            expect_answer(server, *one)


def test_servers():
    """Browsers get STUN and TURN servers as they name them."""
    with serving("--stun-server", "stun://127.0.0.1:9", "--turn-server", "turn://me:secret@127.0.0.1:9", *LOOPBACK) as server:
        visitor = Signaller(server.port)
        assert visitor.wait("ready")["ice_servers"] == [
            {"urls": "stun:127.0.0.1:9"}, {"urls": "turn:127.0.0.1:9", "username": "me", "credential": "secret"}]
        visitor.close()
    for wrong in "stun:host", "http://host:1", "stun://host":
        server = Server("--stun-server", wrong)
        assert server.end([]) == 2 and server.port is None, wrong


def test_rules():
    """Token, origin, queue, full: as for everybody else."""
    with serving("--queue", "1", "--token", "sesame", "--origin", "https://here", *LOOPBACK) as server:
        for status, query, headers in (401, "", ()), (401, "token=x", ()), (403, "token=sesame", ("Origin: https://there",)):
            with contextlib.suppress(Refused):
                Signaller(server.port, query, headers)
                raise AssertionError(f"{query} {headers} gets in")
            assert wire.http(server.port, f"/api/webrtc?{query}", headers)[0] == status
        assert wire.http(server.port, "/api/webrtc?token=sesame")[0] == 426
        talks = Caller(server.port, "token=sesame")
        begin(talks)
        waits = Signaller(server.port, "token=sesame")
        place = waits.wait("queue")
        assert (place["queue_position"], place["queue_length"]) == (1, 1), place
        Signaller(server.port, "token=sesame").expect_end(TRY_AGAIN_LATER, "full")
        talks.close()
        assert waits.wait("ready")["settings"]["lm_model_file"]
        waits.close()


def test_drain():
    """Who waits is sent away, who talks may finish until the time is over."""
    server = Server("--drain", "1", *LOOPBACK).ready()
    process, log, _ = visit(server, seconds=30)
    until(lambda text: "lag" in text, process, log)
    waits = Signaller(server.port)
    waits.wait("queue")
    server.process.send_signal(signal.SIGTERM)
    waits.expect_end(TRY_AGAIN_LATER, "going down")
    assert server.end([]) == 0
    process.wait(30)
    assert f"closed {GOING_AWAY}" in log.read_text(), log.read_text()


def test_killed():
    """He costs his own session only, and not for long; nothing of his is left."""
    with serving("--sessions", "2", *LOOPBACK) as server:
        stays = visit(server, name="stays")
        process, log, _ = visit(server, seconds=30)
        until(lambda text: "lag" in text, process, log)
        stop(process, signal.SIGKILL)
        expect_answer(server, *stays)
        server.wait_metric("moshi_sessions", 0)


def test_silent():
    """Who stops in the middle, with all connections open, is let go."""
    with serving("--sessions", "2", "--silence", "2", *LOOPBACK) as server:
        process, log, _ = visit(server)
        until(lambda text: "lag" in text, process, log)
        process.send_signal(signal.SIGSTOP)
        server.wait_metric('moshi_ended_total{reason="silent"}', 1)
        server.wait_metric("moshi_sessions", 0)
        process.kill()
        process.wait()


# ---------------------------------------------------------------- who misbehaves

def answer_to(offer, change=lambda sdp: sdp):
    """An answer that fits, from somebody who will not be there."""
    sdp = offer["sdp"].replace("actpass", "active")
    sdp = re.sub(r"ice-ufrag:[^\r]*", "ice-ufrag:" + "u" * 32, sdp)
    sdp = re.sub(r"ice-pwd:[^\r]*", "ice-pwd:" + "p" * 32, sdp)
    return {"type": "answer", "sdp": change(sdp)}


BAD_ANSWERS = {
    "empty": lambda sdp: "",
    "no SDP": lambda sdp: "\0garbage\r\n" * 100,
    "no media": lambda sdp: sdp.partition("m=")[0],
    "one medium": lambda sdp: sdp[:sdp.rindex("m=")],
    "many media": lambda sdp: sdp + sdp[sdp.index("m="):] * 50,
    "no fingerprint": lambda sdp: re.sub("a=fingerprint.*\r\n", "", sdp),
    "no ICE": lambda sdp: re.sub("a=ice-.*\r\n", "", sdp),
    "long ICE": lambda sdp: sdp.replace("u" * 32, "u" * 300),
    "no setup": lambda sdp: re.sub("a=setup.*\r\n", "", sdp),
    "no mid": lambda sdp: re.sub("a=mid.*\r\n", "", sdp),
    "video": lambda sdp: sdp.replace("m=audio", "m=video"),
    "many attributes": lambda sdp: sdp + "a=x:y\r\n" * 1000,
    "many formats": lambda sdp: sdp.replace("SAVPF 96", "SAVPF" + " 96" * 200),
}
# These get to webrtcbin, or to libnice; the call ends, sooner or later.
ODD_ANSWERS = {
    "another fingerprint": lambda sdp: re.sub(r"sha-256 [^\r]*", "sha-256 " + ":".join(["00"] * 32), sdp),
    "another hash": lambda sdp: re.sub(r"sha-256 [^\r]*", "sha-999 zz", sdp),
    "passive and active": lambda sdp: sdp.replace("active", "passive", 1),
    "another codec": lambda sdp: sdp.replace("OPUS/48000/2", "PCMU/8000"),
    "no codec": lambda sdp: re.sub("a=rtpmap.*\r\n", "", sdp),
    "other mids": lambda sdp: sdp.replace("mid:audio0", "mid:x"),
    "one mid": lambda sdp: sdp.replace("mid:audio0", "mid:application1"),
    "no bundle": lambda sdp: re.sub("a=group.*\r\n", "", sdp),
    "one direction": lambda sdp: sdp.replace("sendrecv", "recvonly"),
    "inactive": lambda sdp: sdp.replace("sendrecv", "inactive"),
    "port of SCTP": lambda sdp: sdp.replace("sctp-port:5000", "sctp-port:99999999999"),
    "long values": lambda sdp: sdp.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=" + "x" * 20000 + "\r\n"),
    "setup": lambda sdp: sdp.replace("setup:active", "setup:actpass"),
    "bad extmap": lambda sdp: sdp.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=extmap:99999 x\r\na=rid:1 send\r\na=ssrc:x y\r\n"),
}
BAD_SIGNALS = [
    b"", b"{", b"null", b"[]", b"\"\"", b"{}", b"{\"type\": 1}", b"{\"type\": \"answer\"}", b"{\"type\": \"answer\", \"sdp\": 1}",
    b"{\"type\": \"offer\", \"sdp\": \"v=0\"}", b"[" * 60000, b"{\"a\":" * 10000, b"{\"type\": \"what\"}",
    b"{\"type\": \"candidate\"}", b"{\"type\": \"candidate\", \"candidate\": \"candidate:\", \"sdpMLineIndex\": -1}",
    b"{\"type\": \"candidate\", \"candidate\": \"candidate:\", \"sdpMLineIndex\": 1e99}",
    b"{\"type\": \"candidate\", \"candidate\": \"candidate:\", \"sdpMLineIndex\": \"0\"}",
    b"{\"type\": \"candidate\", \"candidate\": \"x\", \"sdpMLineIndex\": 4294967297}",
]
CANDIDATES = [
    "", "garbage", "candidate:", "candidate:1 1 UDP 1 999.1.1.1 5 typ host", "candidate:1 9 UDP -1 127.0.0.1 99999 typ host",
    "candidate:1 1 UDP 1 127.0.0.1 9 typ host", "candidate:2 1 TCP 1 127.0.0.1 9 typ host tcptype active", "candidate:" + "x" * 5000,
    "candidate:1 1 UDP 1 nowhere.invalid 9 typ host", "candidate:1 1 UDP 1 ::1 9 typ relay raddr x rport y",
]


def candidate(text, line=0):
    return {"type": "candidate", "candidate": text, "sdpMLineIndex": line}


def expect_refused_answer(server, change):
    visitor = Signaller(server.port)
    visitor.say(answer_to(visitor.wait("offer"), change))
    visitor.expect_end(POLICY_VIOLATION, "does not fit")


def misuse(server):
    """All that is no signal, at a wrong time, or too much of it: left out, and nobody's end."""
    visitor = Signaller(server.port)
    for signal_ in BAD_SIGNALS:
        visitor.send_frame(signal_, 1)
    visitor.send_frame(b"binary")
    offer = visitor.wait("offer")
    for signal_ in BAD_SIGNALS:
        visitor.send_frame(signal_, 1)
    visitor.say({"type": "offer", "sdp": offer["sdp"]})
    for text in CANDIDATES:
        visitor.say(candidate(text))
    visitor.say(answer_to(offer))
    for line in 0, 1, 2, 15, 16:
        for text in CANDIDATES:
            visitor.say(candidate(text, line))
    for i in range(300):
        visitor.say(candidate(f"candidate:{i} 1 UDP {i} 127.0.0.1 {i + 1} typ host"))
    return visitor


def test_hostile():
    """Nobody else notices; who never connects is let go after a while."""
    several = len(ODD_ANSWERS) + 4
    with serving("--sessions", str(several), *LOOPBACK) as server:
        began = time.monotonic()
        nobody = Signaller(server.port)
        nobody.wait("offer")
        others = [misuse(server)]
        for change in ODD_ANSWERS.values():
            visitor = Signaller(server.port)
            visitor.say(answer_to(visitor.wait("offer"), change))
            visitor.say(candidate("candidate:1 1 UDP 2015364095 127.0.0.1 9 typ host"))
            others.append(visitor)
        for name, change in BAD_ANSWERS.items():
            try:
                expect_refused_answer(server, change)
            except AssertionError as e:
                raise AssertionError(f"{name}: {e}") from e
        big = Signaller(server.port)
        big.wait("offer")
        # The length alone: what is behind it would not be read, and its sender's connection be reset.
        big.socket.sendall(struct.pack(">BBQI", 0x81, 255, 3 << 20, 0))
        big.expect_end(None)
        expect_answer(server, *visit(server))
        for visitor in [nobody, *others]:
            visitor.expect_end(POLICY_VIOLATION)
        lasted = time.monotonic() - began
        assert lasted < CONNECT_WITHIN + 20, f"{lasted} s"
        server.wait_metric("moshi_sessions", 0)
        assert server.metrics()["moshi_bad_input_total"] > 2 * len(BAD_SIGNALS)


def threads_and_files(server):
    return [len(os.listdir(f"/proc/{server.process.pid}/{kind}")) for kind in ("task", "fd")]


def test_comings_and_goings():
    """Threads and descriptors are given back."""
    with serving("--sessions", "4", *LOOPBACK) as server:
        for i in range(24):
            visitor = Signaller(server.port)
            if i % 4:
                offer = visitor.wait("offer")
            if i % 4 > 1:
                visitor.say(answer_to(offer))
            if i % 4 > 2:
                visitor.say(candidate("candidate:1 1 UDP 2015364095 127.0.0.1 9 typ host"))
            if i % 3:
                visitor.close()
            else:
                visitor.socket.close()
            if i == 7:
                server.wait_metric("moshi_sessions", 0)
                time.sleep(1)
                before = threads_and_files(server)
        server.wait_metric("moshi_sessions", 0)
        time.sleep(1)
        after = threads_and_files(server)
        assert all(a <= b + 4 for a, b in zip(after, before)), f"threads, descriptors: {before}, then {after}"


def test_plugins_missing():
    """Said plainly, and /api/chat goes on."""
    source = subprocess.run(["gst-inspect-1.0", "nicesrc"], capture_output=True, text=True).stdout
    plugin = re.search(r"Filename\s+(\S+)", source)[1]
    kept = WORK / "plugins"
    kept.mkdir()
    for name in os.listdir(os.path.dirname(plugin)):
        if name.endswith(".so") and name != os.path.basename(plugin):
            os.symlink(os.path.join(os.path.dirname(plugin), name), kept / name)
    with serving(GST_PLUGIN_SYSTEM_PATH_1_0=str(kept), GST_REGISTRY=str(WORK / "registry.bin")) as server:
        status, _, body = wire.http(server.port, "/api/webrtc")
        assert status == 501 and b"nicesrc" in body, (status, body)
        expect(converse(server)[0])


# ---------------------------------------------------------------- the token link

def test_tokens():
    """Two processes: what is decoded at the far end is speech, and a frame is 8 codes of 8 bits."""
    def end(name, *role):
        return start(name, [TOKENS, *role, "--in", TINY / f"{name}.wav", "--out", WORK / f"heard_by_{name}.wav", *LOOPBACK])

    with contextlib.closing(wire.socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    listener = end("user_hello", "--listen", str(port))
    until(lambda text: "Waiting" in text, *listener)
    caller = end("reply_hello", "--call", f"127.0.0.1:{port}")
    counts = []
    for process, log in caller, listener:
        assert process.wait(60) == 0, log.read_text()
        counts.append([int(x) for x in re.findall(r"\d+", log.read_text().splitlines()[-1])])
    sent, heard = counts
    assert sent == heard[2:] + heard[:2] and sent[0] >= 58 and sent[1] == 8 * sent[0], counts
    expect_voice(WORK / "heard_by_user_hello.wav")


def test_tokens_nobody():
    """An end that is gone, or was none, ends the call."""
    with contextlib.closing(wire.socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        command = ["--call", f"127.0.0.1:{s.getsockname()[1]}", "--in", TINY / "user_hello.wav", "--out", WORK / "x.wav", *LOOPBACK]
        for noise in b"", b"{}\n", b"x" * 100000, b'{"type":"answer","sdp":"v=0"}\n':
            process, log = start("alone", [TOKENS, *command])
            other, _ = s.accept()
            other.sendall(noise)
            other.shutdown(wire.socket.SHUT_WR)
            assert process.wait(60) == 1, log.read_text()
            other.close()


if __name__ == "__main__":
    if not shutil.which("gst-inspect-1.0") or subprocess.run(["gst-inspect-1.0", "nicesrc"], capture_output=True).returncode:
        sys.exit(skip_all("GStreamer's plugin nice is missing"))
    sys.exit(run_tests(globals()))
