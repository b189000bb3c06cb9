"""test_client.py: moshi-client calls moshi-server; see harness.py."""

import re
import subprocess
import sys

import wire
from harness import ANSWER, CLIENT, TINY, WORK, expect_voice, run_tests, serving
from rust_backend import RustBackend

QUESTION = TINY / "user_hello.wav"


def call(*arguments):
    done = subprocess.run([str(a) for a in [CLIENT, *arguments]], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_files():
    """A certificate that nobody signed, a token, both kinds of transcript."""
    for suffix in "vtt", "txt":
        with serving("--tls", "--token", "s3cret") as server:
            code, out, err = call(server.url, "--insecure", "--token", "s3cret", "--in", QUESTION, "--out", WORK / "reply.wav",
                                  "--transcript", WORK / f"said.{suffix}")
        assert code == 0 and out.strip() == ANSWER, (code, out, err)
        said = (WORK / f"said.{suffix}").read_text()
        time = r"00:00:0\d\.\d{3}"
        line = rf"{time} --> {time}\n(.+)\n\n" if suffix == "vtt" else rf"{time}  (.+)\n"
        assert re.fullmatch(rf"(WEBVTT\n\n)?({line})+", said) and said.startswith("WEBVTT") == (suffix == "vtt"), said
        # It draws how long it rests between its sentences: a pause of a second begins a new line.
        assert " ".join(re.findall(line, said)) == ANSWER, said
        expect_voice(WORK / "reply.wav")


def test_rust_backend():
    """The handshake and the frames of Kyutai's Rust server, which ends a session for anything that it does not expect."""
    with serving("--tls"):
        pass                                            # makes a certificate
    certificate, key = (WORK / f"data/gst-moshi/server-{name}.pem" for name in ("cert", "key"))
    backend = RustBackend(certificate, key, wire.encode(TINY / "reply_hello.wav", WORK))
    code, out, err = call(f"https://localhost:{backend.port}", "--insecure", "--in", QUESTION, "--out", WORK / "rust.wav")
    backend.end()
    assert code == 0 and out.strip() == ANSWER, (code, out, err)
    assert backend.request.startswith("GET /api/chat HTTP/1.1"), backend.request
    assert not backend.before_handshake and not backend.unexpected, (backend.before_handshake, backend.unexpected)
    assert len(wire.packets_of(backend.heard)) > 40, "it has not said the question"
    expect_voice(WORK / "rust.wav")


def test_refusals():
    files = ["--in", QUESTION, "--out", WORK / "none.wav"]
    with serving("--tls", "--token", "s3cret") as server:
        for arguments in [["--insecure"], ["--insecure", "--token", "wrong"], ["--token", "s3cret"]]:
            code, out, err = call(server.url, *files, *arguments)
            assert code == 1 and err and not out, (arguments, code, out, err)
    code, out, err = call(server.url, *files)
    assert code == 1 and err, (code, out, err)
    for arguments in [[], ["a", "b"], ["http://["], ["--what"]]:
        code, out, err = call(*arguments)
        assert code == 2 and err, (arguments, code, out, err)
    code, out, err = call("localhost:1", "--in", "/nonexistent", "--out", WORK / "none.wav")
    assert code == 1 and err, (code, out, err)


if __name__ == "__main__":
    sys.exit(run_tests(globals()))
