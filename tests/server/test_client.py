"""test_client.py SERVER CLIENT SOURCE WORK: moshi-client calls moshi-server. Prints TAP."""

import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

SERVER, CLIENT, SOURCE, WORK = (Path(a).resolve() for a in sys.argv[1:5])
QUESTION = SOURCE / "examples/tiny-model/user_hello.wav"
ANSWER = "Hello! Nice to meet you."


class Server:
    def __init__(self, *options):
        self.process = subprocess.Popen([SERVER, "--port", "0", "--static", "none", *options], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL, env={**os.environ, "XDG_DATA_HOME": str(WORK)})
        self.url = re.search(r"http\S+", self.process.stdout.readline())[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()


def call(*arguments):
    done = subprocess.run([str(a) for a in [CLIENT, *arguments]], capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_files():
    """A certificate that nobody signed, a token, both kinds of transcript."""
    for suffix in "vtt", "txt":
        with Server("--tls", "--token", "s3cret") as server:
            code, out, err = call(server.url, "--insecure", "--token", "s3cret", "--in", QUESTION, "--out", "reply.wav",
                                  "--transcript", f"said.{suffix}")
        assert code == 0 and out.strip() == ANSWER, (code, out, err)
        said = Path(f"said.{suffix}").read_text()
        time = r"00:00:0\d\.\d{3}"
        form = rf"WEBVTT\n\n{time} --> {time}\n{ANSWER}\n\n" if suffix == "vtt" else rf"{time}  {ANSWER}\n"
        assert re.fullmatch(form, said), said
        with wave.open("reply.wav") as f:
            assert f.getparams()[:3] == (1, 2, 24000), f.getparams()
            Path("reply.raw").write_bytes(f.readframes(f.getnframes()))
        heard = subprocess.run([sys.executable, SOURCE / "tests/examples/heard.py", "reply.raw"], capture_output=True, text=True)
        assert heard.returncode == 0, heard.stdout


def test_refusals():
    files = ["--in", QUESTION, "--out", "none.wav"]
    with Server("--tls", "--token", "s3cret") as server:
        for arguments in [["--insecure"], ["--insecure", "--token", "wrong"], ["--token", "s3cret"]]:
            code, out, err = call(server.url, *files, *arguments)
            assert code == 1 and err and not out, (arguments, code, out, err)
    code, out, err = call(server.url, *files)
    assert code == 1 and err, (code, out, err)
    for arguments in [[], ["a", "b"], ["http://["], ["--what"]]:
        code, out, err = call(*arguments)
        assert code == 2 and err, (arguments, code, out, err)
    code, out, err = call("localhost:1", "--in", "/nonexistent", "--out", "none.wav")
    assert code == 1 and err, (code, out, err)


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    os.chdir(WORK)
    tests = [f for name, f in globals().items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = False
    for i, test in enumerate(tests, 1):
        name = test.__name__.removeprefix("test_")
        try:
            test()
            print(f"ok {i} {name}", flush=True)
        except AssertionError as e:
            failed = True
            print(f"not ok {i} {name}\n# " + str(e).replace("\n", "\n# "), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
