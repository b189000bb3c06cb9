"""What the tests of this directory have in common: SCRIPT SERVER CLIENT SOURCE WORK [TEST…] is how they are called, TAP is
what they print, and servers and other programs are what they start."""

import contextlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
import wave
from pathlib import Path

import wire

SERVER, CLIENT, SOURCE, WORK = (Path(a).resolve() for a in sys.argv[1:5])
TINY = SOURCE / "examples/tiny-model"
ANSWER = "Hello! Nice to meet you."


class Skip(Exception):
    pass


def run_tests(tests, prepare=None):
    """The functions test_… of a dictionary; returns whether one has failed. Names on the command line choose. What they
    share is prepared in the empty WORK."""
    tests = [f for name, f in tests.items() if name.startswith("test_") and inspect.isfunction(f)
             and (len(sys.argv) == 5 or name[5:] in sys.argv[5:])]
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    if prepare:
        prepare()
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
            print(f"not ok {i} {name}\n# " + "".join(traceback.format_exception(e)).replace("\n", "\n# "), flush=True)
    return failed


def skip_all(reason):
    print(f"1..0 # SKIP {reason}")
    return 0


def wav_samples(path):
    """Mono S16."""
    with wave.open(str(path)) as f:
        assert f.getparams()[:3] == (1, 2, 24000), f.getparams()
        return f.readframes(f.getnframes())


def after_silence(seconds, wav=TINY / "user_hello.wav"):
    """A file with the question after some silence: who calls is not heard in his first moments."""
    out = WORK / f"{wav.stem}_after_{seconds}.wav"
    with wave.open(str(out), "wb") as f:
        f.setparams((1, 2, 24000, 0, "NONE", ""))
        f.writeframes(bytes(int(seconds * 48000)) + wav_samples(wav))
    return out


def expect_voice(recording):
    """A reply is in it: a WAV, or 24 kHz S16 samples."""
    raw = recording
    if recording.suffix == ".wav":
        raw = recording.with_suffix(".raw")
        raw.write_bytes(wav_samples(recording))
    heard = subprocess.run([sys.executable, SOURCE / "tests/examples/heard.py", raw], capture_output=True, text=True)
    assert heard.returncode == 0, heard.stdout


# ---------------------------------------------------------------- other programs

def start(name, command, **environment):
    """(process, its log, which has both its outputs)"""
    log = WORK / f"{name}.log"
    with open(log, "wb") as f:
        process = subprocess.Popen([str(c) for c in command], stdout=f, stderr=subprocess.STDOUT,
                                   env={**os.environ, "PYTHONUNBUFFERED": "1", **environment})
    return process, log


def until(said, process, log, patience=150):
    """Programs that import torch take their time."""
    for _ in range(patience * 5):
        if said(log.read_text(errors="replace")):
            return
        assert process.poll() is None, f"it has ended: {process.returncode}\n{log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"never said:\n{log.read_text()}")


def stop(process, signal_number=signal.SIGINT):
    process.send_signal(signal_number)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("it does not end") from None


# ---------------------------------------------------------------- our server

class Server:
    def __init__(self, *options, **environment):
        self.log = open(WORK / "server.log", "ab")
        env = {**os.environ, "XDG_DATA_HOME": str(WORK / "data"), **environment}
        self.process = subprocess.Popen([SERVER, "--port", "0", "--static", "none", *options], env=env, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/", line)[1]) if line else None
        self.tls = line.startswith("Listening at https")
        self.url = line.split()[-1] if line else None
        self.killed = False

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

    def processor_time(self):
        """s, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        """As a machine dies."""
        self.process.kill()
        self.process.wait()
        self.killed = True

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
    assert code == (-signal.SIGKILL if server.killed else 0), f"exit code {code}"
