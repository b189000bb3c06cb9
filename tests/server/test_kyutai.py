"""test_kyutai.py: Kyutai's own programs, as they are, with ours; see harness.py. They come from the interpreter that
MOSHI_REFERENCE_PYTHON names (packages moshi and numpy); skipped without."""

import json
import os
import socket
import subprocess
import sys
import time

from harness import (ANSWER, CLIENT, SOURCE, TINY, WORK, after_silence, expect_voice, run_tests, serving, skip_all, start, stop,
                     until)

PYTHON = os.environ.get("MOSHI_REFERENCE_PYTHON")


def test_client():
    """python -m moshi.client calls moshi-server."""
    raw = WORK / "reply.raw"
    with serving() as server:
        client, said = start("client", [PYTHON, "-m", "moshi.client", "--host", "127.0.0.1", "--port", server.port],
                             PYTHONPATH=str(SOURCE / "tests/server/stub"), FAKE_IN=str(after_silence(3)), FAKE_OUT=str(raw))
        try:
            until(lambda s: ANSWER in s, client, said)
            time.sleep(2)                               # the voice is behind the text
            during = said.read_text()
        finally:
            stop(client)
    assert "All done!" in said.read_text(), said.read_text()
    assert "Lost connection" not in during, during
    expect_voice(raw)


def test_server():
    """moshi-client calls python -m moshi.server, which has no CUDA here and wants one to wait for."""
    config = json.loads((TINY / "config.json").read_text())
    config["mimi_config_name"] = f"file://{TINY / config['mimi_config_name']}"
    (WORK / "config.json").write_text(json.dumps(config))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    program = ("import torch, runpy\ntorch.cuda.synchronize = lambda *a: None\n"
               "runpy.run_module('moshi.server', run_name='__main__', alter_sys=True)")
    server, log = start("kyutai", [PYTHON, "-c", program, "--host", "127.0.0.1", "--port", port, "--device", "cpu", "--static", "none",
                                   "--hf-repo", "x/y", "--config-path", WORK / "config.json", "--moshi-weight", TINY / config["moshi_name"],
                                   "--mimi-weight", TINY / config["mimi_name"], "--tokenizer", TINY / config["tokenizer_name"]],
                        NO_TORCH_COMPILE="1", HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    try:
        until(lambda s: "Access the" in s or "Running on" in s, server, log)
        done = subprocess.run([CLIENT, f"127.0.0.1:{port}", "--in", after_silence(1), "--out", WORK / "kyutai.wav"],
                              capture_output=True, text=True, timeout=150)
    finally:
        stop(server)
    assert done.returncode == 0 and done.stdout.strip() == ANSWER, f"{done}\n{log.read_text()}"
    expect_voice(WORK / "kyutai.wav")


if __name__ == "__main__":
    sys.exit(run_tests(globals()) if PYTHON else skip_all("MOSHI_REFERENCE_PYTHON does not name a Python with the package moshi"))
