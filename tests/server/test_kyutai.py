"""test_kyutai.py SERVER CLIENT SOURCE WORK: Kyutai's own programs, as they are, with ours. They come from the interpreter that
MOSHI_REFERENCE_PYTHON names (packages moshi and numpy); skipped without. Prints TAP."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import wave
from pathlib import Path

SERVER, CLIENT, SOURCE, WORK = (Path(a).resolve() for a in sys.argv[1:5])
PYTHON = os.environ.get("MOSHI_REFERENCE_PYTHON")
ANSWER = "Hello! Nice to meet you."
PATIENCE = 150                                          # s; they import torch first


def question(silence):
    """The question after some seconds of silence: who calls is not heard in his first moments."""
    out = WORK / "question.wav"
    with wave.open(str(SOURCE / "examples/tiny-model/user_hello.wav")) as f:
        samples = f.readframes(f.getnframes())
    with wave.open(str(out), "wb") as f:
        f.setparams((1, 2, 24000, 0, "NONE", ""))
        f.writeframes(bytes(int(silence * 48000)) + samples)
    return out


def until(said, process, log):
    for _ in range(PATIENCE * 5):
        if said(log.read_text(errors="replace")):
            return
        assert process.poll() is None, f"it has ended: {process.returncode}\n{log.read_text()}"
        time.sleep(0.2)
    raise AssertionError(f"never said:\n{log.read_text()}")


def start(name, command, **environment):
    log = WORK / f"{name}.log"
    with open(log, "wb") as f:
        process = subprocess.Popen([str(c) for c in command], stdout=f, stderr=subprocess.STDOUT,
                                   env={**os.environ, "PYTHONUNBUFFERED": "1", **environment})
    return process, log


def stop(process, signal_number=signal.SIGINT):
    process.send_signal(signal_number)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("it does not end") from None


def test_client():
    """python -m moshi.client calls moshi-server."""
    server, log = start("server", [SERVER, "--port", "0", "--static", "none"])
    until(lambda s: "event=ready" in s, server, log)
    port = re.search(r":(\d+)/", log.read_text())[1]
    raw = WORK / "reply.raw"
    client, said = start("client", [PYTHON, "-m", "moshi.client", "--host", "127.0.0.1", "--port", port],
                         PYTHONPATH=str(SOURCE / "tests/server/stub"), FAKE_IN=str(question(3)), FAKE_OUT=str(raw))
    try:
        until(lambda s: ANSWER in s, client, said)
        time.sleep(2)                                   # the voice is behind the text
        during = said.read_text()
    finally:
        stop(client)
        code = stop(server)
    assert "All done!" in said.read_text() and code == 0, (said.read_text(), code)
    assert "Lost connection" not in during, during
    heard = subprocess.run([sys.executable, SOURCE / "tests/examples/heard.py", raw], capture_output=True, text=True)
    assert heard.returncode == 0, heard.stdout


def test_server():
    """moshi-client calls python -m moshi.server, which has no CUDA here and wants one to wait for."""
    tiny, config = SOURCE / "examples/tiny-model", json.loads((SOURCE / "examples/tiny-model/config.json").read_text())
    config["mimi_config_name"] = f"file://{tiny / config['mimi_config_name']}"
    (WORK / "config.json").write_text(json.dumps(config))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    program = ("import torch, runpy\ntorch.cuda.synchronize = lambda *a: None\n"
               "runpy.run_module('moshi.server', run_name='__main__', alter_sys=True)")
    server, log = start("kyutai", [PYTHON, "-c", program, "--host", "127.0.0.1", "--port", port, "--device", "cpu", "--static", "none",
                                   "--hf-repo", "x/y", "--config-path", WORK / "config.json", "--moshi-weight", tiny / config["moshi_name"],
                                   "--mimi-weight", tiny / config["mimi_name"], "--tokenizer", tiny / config["tokenizer_name"]],
                        NO_TORCH_COMPILE="1", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    try:
        until(lambda s: "Access the" in s or "Running on" in s, server, log)
        done = subprocess.run([CLIENT, f"127.0.0.1:{port}", "--in", question(1), "--out", WORK / "kyutai.wav"],
                              capture_output=True, text=True, timeout=PATIENCE)
    finally:
        stop(server)
    assert done.returncode == 0 and done.stdout.strip() == ANSWER, f"{done}\n{log.read_text()}"
    with wave.open(str(WORK / "kyutai.wav")) as f:
        (WORK / "kyutai.raw").write_bytes(f.readframes(f.getnframes()))
    heard = subprocess.run([sys.executable, SOURCE / "tests/examples/heard.py", WORK / "kyutai.raw"], capture_output=True, text=True)
    assert heard.returncode == 0, heard.stdout


def main():
    if not PYTHON:
        print("1..0 # SKIP MOSHI_REFERENCE_PYTHON does not name a Python with the package moshi")
        return False
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
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
