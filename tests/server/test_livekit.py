"""test_livekit.py: the PersonaPlex plugin of LiveKit Agents, as it is, calls moshi-server; see harness.py. It comes from the
interpreter that MOSHI_LIVEKIT_PYTHON names (package livekit-plugins-nvidia[personaplex]); skipped without."""

import os
import subprocess
import sys

from harness import ANSWER, SOURCE, WORK, after_silence, expect_voice, run_tests, serving, skip_all

PYTHON = os.environ.get("MOSHI_LIVEKIT_PYTHON")


def test_agent():
    """An AgentSession hears the answer, puts it into its history, and hangs up."""
    reply = WORK / "reply.wav"
    with serving("--verbose") as server:
        done = subprocess.run([PYTHON, SOURCE / "tests/server/livekit_agent.py", f"ws://127.0.0.1:{server.port}", after_silence(3), reply],
                              capture_output=True, text=True, timeout=150)
        server.wait_metric("moshi_sessions", 0)
        m = server.metrics()
    assert done.returncode == 0 and done.stdout.strip() == f"assistant:  {ANSWER}", (done.stdout, done.stderr)
    assert m["moshi_talks_total"] == m['moshi_ended_total{reason="caller"}'] == 1 and m["moshi_bad_input_total"] == 0, m
    assert '\\"text_seed\\":7,' in (WORK / "server.log").read_text(), "its seed does not count"
    expect_voice(reply)


if __name__ == "__main__":
    sys.exit(run_tests(globals()) if PYTHON else skip_all("MOSHI_LIVEKIT_PYTHON does not name a Python with livekit-plugins-nvidia"))
