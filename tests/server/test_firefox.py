"""test_firefox.py SERVER CLIENT SOURCE WORK: the page in a headless Firefox that has a microphone and a loudspeaker, which
are a sound server's without hardware. Prints TAP.

Needs Debian's firefox-esr and pulseaudio, and is skipped without them. Screenshots are left in WORK."""

import contextlib
import os
import re
import subprocess
import sys
import time

from firefox import BROWSER, Firefox
from harness import SOURCE, TINY, WORK, expect_voice, run_tests, serving, skip_all

PREFERENCES = {
    "media.navigator.permission.disabled": True,  # nobody is there to be asked
    "media.autoplay.default": 0,
    "media.peerconnection.ice.loopback": True,    # no other network is needed
    "media.peerconnection.ice.obfuscate_host_addresses": False,
}


def converse(name, query, label):
    """A question in the microphone, the answer as text and from the loudspeaker, and the lag that is shown."""
    page = SOURCE / "examples/server/web"
    with serving("--static", page, "--ice-address", "127.0.0.1") as server, Firefox(WORK / f"profile-{name}", PREFERENCES) as firefox:
        firefox.open(f"http://127.0.0.1:{server.port}/?processing=off{query}")
        firefox.click("talk")
        firefox.wait("status", "listens")
        time.sleep(3)                                   # devices take a while until they deliver
        raw = WORK / f"{name}.raw"
        with open(raw, "wb") as heard:
            recorder = subprocess.Popen(["parec", "-d", "speaker.monitor", "--rate=24000", "--channels=1", "--format=s16le", "--raw"], stdout=heard)
            subprocess.run(["paplay", "--device=micfeed", TINY / "user_hello.wav"], check=True)
            firefox.wait("captions", r"Hello!\s*Nice to meet you\.")
            time.sleep(2)                               # the end of its voice
            recorder.terminate()
            recorder.wait()
        assert firefox.text("codec") == label, firefox.text("codec")
        lag = int(re.match(r"\d+", firefox.text("lag-now"))[0])
        print(f"# {label}: lag {lag} ms, buffer {firefox.text('buffer')}, gaps {firefox.text('gaps')}")
        assert 80 <= lag < 5000, lag
        firefox.picture(WORK / f"{name}.png")
        firefox.click("talk")
        firefox.wait("status", "is over")
    expect_voice(raw)


def test_opus():
    converse("opus", "&format=opus", "Opus")


def test_uncompressed():
    converse("uncompressed", "&format=pcm", "uncompressed")


def test_webrtc():
    converse("webrtc", "&transport=webrtc", "Opus by WebRTC")


@contextlib.contextmanager
def sound_server():
    """Yields whether there is one."""
    folder = WORK.parent / "firefox-sound"
    folder.mkdir(exist_ok=True)
    script = f'. "{SOURCE}/tests/examples/sound-server.sh"; start_sound_server "$0"; echo started; cat; stop_sound_server'
    with subprocess.Popen(["sh", "-c", script, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        os.environ["PULSE_SERVER"] = f"unix:{folder}/native"
        yield process.stdout.readline() == "started\n"
        process.stdin.close()


def main():
    if not BROWSER:
        return skip_all("firefox-esr is missing")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        return skip_all("a live conversation has no time for ASan")
    with sound_server() as there:
        return run_tests(globals()) if there else skip_all("pulseaudio or pulseaudio-utils is missing")


if __name__ == "__main__":
    sys.exit(main())
