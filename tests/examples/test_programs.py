"""test_programs.py SOURCE EMBED MANY WORK: the example programs say and play what Moshi answers.
Prints TAP."""

import array
import math
import os
import shutil
import subprocess
import sys
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


def test_embed(tiny, embed, _many, _source):
    code, out, err = run(embed, stdin=samples(tiny / "user_hello.wav").tobytes())
    got, wanted = array.array("h"), samples(tiny / "reply_hello.wav")[FRAME:]
    got.frombytes(out)
    # The reference's runner steps the first frame twice: its reply is a frame longer.
    if code or len(got) < len(wanted) or ratio(got, wanted) < 60:
        return f"exit code {code}, {len(got)} samples, {ratio(got, wanted) if got else 0:.1f} dB, {err}"
    words = [line.split()[-1] for line in err.splitlines() if line.count(" s  ")]
    return None if " ".join(words) == "Hello! Nice to meet you." else f"it says {err}"


def test_many(tiny, _embed, many, _source):
    questions = [tiny / f"user_{name}.wav" for name in ("hello", "name", "joke")]
    replies = ["Hello! Nice to meet you.", "My name is Moshi.", "Why was the robot tired? It had a hard drive."]
    code, out, err = run(many, 5, *questions)
    wanted = [f"{i + 1}: {replies[i % 3]}" for i in range(5)]
    lines = out.decode().splitlines()
    return None if code == 0 and lines[:5] == wanted and len(lines) == 6 else f"exit code {code}\n{lines}\n{err}"


def test_voicebot(tiny, _embed, _many, source):
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


def main():
    source, embed, many, work = (Path(a).resolve() for a in sys.argv[1:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    os.chdir(work)
    tests = [test_embed, test_many, test_voicebot]
    print(f"1..{len(tests)}")
    failed = False
    for i, test in enumerate(tests, 1):
        name = test.__name__.removeprefix("test_")
        problem = test(source / "examples/tiny-model", embed, many, source)
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
