"""test_programs.py SOURCE EMBED MANY PHONE WORK: the example programs say and play what Moshi answers.
Prints TAP."""

import array
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import wave
from pathlib import Path

FRAME = 1920


def run(*command, stdin=None):
    done = subprocess.run([str(c) for c in command], input=stdin, capture_output=True, timeout=100)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def samples(path):
    with wave.open(str(path)) as f:
        return array.array("h", f.readframes(f.getnframes()))


def ratio(got, wanted):
    noise = sum((x - y) ** 2 for x, y in zip(got, wanted))
    return 10 * math.log10(sum(x * x for x in wanted) / max(noise, 1))


def test_embed(tiny, embed, **_):
    code, out, err = run(embed, stdin=samples(tiny / "user_hello.wav").tobytes())
    got, wanted = array.array("h"), samples(tiny / "reply_hello.wav")[FRAME:]
    got.frombytes(out)
    # The reference's runner steps the first frame twice: its reply is a frame longer.
    if code or len(got) < len(wanted) or ratio(got, wanted) < 60:
        return f"exit code {code}, {len(got)} samples, {ratio(got, wanted) if got else 0:.1f} dB, {err}"
    words = [line.split()[-1] for line in err.splitlines() if line.count(" s  ")]
    return None if " ".join(words) == "Hello! Nice to meet you." else f"it says {err}"


def test_many(tiny, many, **_):
    questions = [tiny / f"user_{name}.wav" for name in ("hello", "name", "joke")]
    replies = ["Hello! Nice to meet you.", "My name is Moshi.", "Why was the robot tired? It had a hard drive."]
    code, out, err = run(many, 5, *questions)
    wanted = [f"{i + 1}: {replies[i % 3]}" for i in range(5)]
    lines = out.decode().splitlines()
    return None if code == 0 and lines[:5] == wanted and len(lines) == 6 else f"exit code {code}\n{lines}\n{err}"


def test_voicebot(tiny, source, **_):
    have = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstApp', '1.0'); from gi.repository import Gst, GstApp"
    if run("/usr/bin/python3", "-c", have)[0]:
        return "SKIP python3-gi or python3-gst-1.0 is missing"
    code, out, err = run("/usr/bin/python3", source / "examples/voicebot.py", "--in", tiny / "user_two_turns.wav",
                         "--out", "bot.wav", "--captions", "bot.srt")
    words = " ".join(line.split()[-1] for line in out.decode().splitlines())
    captions = Path("bot.srt").read_text().split("\n\n")
    lines = [c.splitlines()[2] for c in captions if c]
    if code or words != "I am very well, thank you. Goodbye! See you soon.":
        return f"exit code {code}, {words}\n{err}"
    if lines != ["I am very well, thank you.", "Goodbye!", "See you soon."] or " --> " not in captions[0]:
        return f"captions: {captions}"
    return None if max(map(abs, samples("bot.wav"))) > 3000 else "its voice is not in bot.wav"


def loud_seconds(raw):
    """Of 24 kHz S16 sound: tenths of a second louder than -40 dB."""
    tenths = [raw[i:i + 2400] for i in range(0, len(raw) - 2399, 2400)]
    return sum(math.sqrt(sum(x * x for x in t) / 2400) > 328 for t in tenths) / 10


def test_record(tiny, source, **_):
    code, _out, err = run("sh", source / "examples/record.sh", tiny / "user_hello.wav", "talk.mkv")
    if code:
        return f"exit code {code}, {err}"
    for track in 0, 1:
        code, _out, err = run("gst-launch-1.0", "-q", *f"filesrc location=talk.mkv ! matroskademux name=d d.audio_{track} ! "
                              f"queue ! opusdec ! audioresample ! audio/x-raw,rate=24000,format=S16LE ! "
                              f"filesink location=track{track}.raw".split())
        voice = array.array("h", Path(f"track{track}.raw").read_bytes())
        if code or loud_seconds(voice) < 0.4:
            return f"track {track}: exit code {code}, {loud_seconds(voice)} s of {len(voice) / 24000} s, {err}"
    said = Path("talk.mkv").read_bytes()
    return None if all(text in said for text in (b"Hello!", b"Nice to meet you.", b"Moshi")) else "the words are not in the file"


def rtp_caps(port):
    return (f"udpsrc port={port} caps=application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0 "
            "! rtppcmudepay ! mulawdec ! audioresample ! audio/x-raw,rate=24000 ! filesink location=phone.raw")


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(*command, out=None):
    return subprocess.Popen([str(c) for c in command], stdout=out or subprocess.DEVNULL, text=True)


def test_phone(tiny, phone, **_):
    """Two calls, in real time, the second one after the first has hung up: the answers are the same."""
    here, there = free_port(), free_port()
    caller = start("gst-launch-1.0", "-q", *rtp_caps(there).split())
    program = start(phone, "--listen", here, "--to", f"127.0.0.1:{there}", out=subprocess.PIPE)
    time.sleep(1)
    for _call in range(2):
        code, _out, err = run("gst-launch-1.0", "-q", *f"filesrc location={tiny}/user_name.wav ! decodebin ! audioconvert ! "
                              "audioresample ! audio/x-raw,rate=8000,format=S16LE ! mulawenc ! "
                              f"rtppcmupay max-ptime=20000000 ! udpsink host=127.0.0.1 port={here}".split())
        if code:
            return err
        time.sleep(4)
    program.send_signal(signal.SIGINT)
    said, _err = program.communicate(timeout=20)
    caller.kill()
    caller.wait()
    answers = [line.strip() for line in said.splitlines() if line.strip()]
    if answers != ["- 127.0.0.1 calls", "My name is Moshi.", "- hung up"] * 2:
        return f"it says {answers}"
    heard = loud_seconds(array.array("h", Path("phone.raw").read_bytes()))
    return None if heard > 1 else f"{heard} s of its voice arrive"


def main():
    source, embed, many, phone, work = (Path(a).resolve() for a in sys.argv[1:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.chdir(work)
    tests = [test_embed, test_many, test_voicebot, test_record, test_phone]
    print(f"1..{len(tests)}")
    failed = False
    for i, test in enumerate(tests, 1):
        name = test.__name__.removeprefix("test_")
        problem = test(tiny=source / "examples/tiny-model", source=source, embed=embed, many=many, phone=phone)
        if problem and problem.startswith("SKIP"):
            print(f"ok {i} {name} # {problem}")
        elif problem:
            failed = True
            print(f"not ok {i} {name}\n# " + problem.replace("\n", "\n# "))
        else:
            print(f"ok {i} {name}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
