#!/usr/bin/env python3
"""Pipelines as a user types them, with the model in the box.    test_launch.py TINY_MODEL_DIRECTORY

Prints TAP. Elements of GStreamer that are not installed are skipped and named."""
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import traceback
import wave
from pathlib import Path

FRAME = 1920
HEAR = "! decodebin ! audioconvert ! audioresample ! mimienc"
U16 = "! audio/x-mimi,stream-format=u16 ! filesink location="


class Skip(Exception):
    pass


def need(*elements):
    for element in elements:
        # Not --exists, which wants GStreamer's own version number.
        if subprocess.run(["gst-inspect-1.0", element], stdout=subprocess.DEVNULL).returncode:
            raise Skip(f"no element {element}")


def launch(line, fails=False, **environment):
    """Runs gst-launch-1.0; returns all it printed."""
    done = subprocess.run(["gst-launch-1.0", *line.split()], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "GST_DEBUG_NO_COLOR": "1", **environment})
    if (done.returncode != 0) != fails:
        raise AssertionError(f"gst-launch-1.0 {line}\nexit code {done.returncode}\n{done.stdout}{done.stderr[-4000:]}")
    return done.stdout + done.stderr


def question(name):
    return f"filesrc location={TINY}/user_{name}.wav "


def tokens(path, codebooks=8):
    data = Path(path).read_bytes()
    return list(struct.iter_unpack(f"<{codebooks}H", data))


def expected(name):
    answer = json.loads((TINY / f"user_{name}.json").read_text())
    return answer["text"], list(zip(*answer["tokens"][1:]))


def equal(got, want, what=""):
    assert got == want, f"{what}\n got: {got!r:.2000}\nwant: {want!r:.2000}"


def samples(path):
    with wave.open(path) as w:
        equal((w.getframerate(), w.getnchannels(), w.getsampwidth()), (24000, 1, 2))
        return struct.unpack(f"<{w.getnframes()}h", w.readframes(w.getnframes()))


def loudness(pcm):
    return (sum(x * x for x in pcm) / max(1, len(pcm))) ** 0.5


def cues(text):
    """[(start, end, words)] of SRT or WebVTT, in seconds."""
    times = r"(\d+):(\d+):(\d+)[.,](\d+) --> (\d+):(\d+):(\d+)[.,](\d+)\n((?:.+\n)+)"
    out = []
    for m in re.findall(times, text):
        h, mi, s, ms, h2, mi2, s2, ms2 = map(int, m[:8])
        out.append((h * 3600 + mi * 60 + s + ms / 1000, h2 * 3600 + mi2 * 60 + s2 + ms2 / 1000, m[8].strip()))
    return out


# ------------------------------------------------------------------------------------------------- conversations

def test_reply_file():
    """A file is answered with a file, which holds the whole reply."""
    launch(f"{question('hello')} {HEAR} ! moshilm name=m ! mimidec ! audioconvert ! audio/x-raw,format=S16LE ! wavenc "
           "! filesink location=reply.wav m.text_src ! queue ! filesink location=reply.txt")
    equal(Path("reply.txt").read_text(), "Hello!Nicetomeetyou.")
    pcm = samples("reply.wav")
    equal(len(pcm) % FRAME, 0)
    # It speaks from 1.7 s to 4.2 s, and has been silent for a second when the file ends.
    assert loudness(pcm[int(1.7 * 24000):int(4.2 * 24000)]) > 10 * loudness(pcm[-24000:]), "no reply"
    assert len(pcm) > 4.8 * 24000, "ended with the question"


def test_reply_is_complete():
    """The question ends at once, without the silence in which the answer is given."""
    with wave.open(str(TINY / "user_hello.wav")) as w:
        params, data = w.getparams(), w.readframes(int(1.4 * 24000))
    with wave.open("short.wav", "wb") as w:
        w.setparams(params)
        w.writeframes(data)
    launch(f"filesrc location=short.wav {HEAR} ! moshilm name=m text-mode=piece ! fakesink m.text_src ! queue "
           "! filesink location=short.txt")
    equal(Path("short.txt").read_text(), " Hello! Nice to meet you.")
    launch(f"filesrc location=short.wav {HEAR} ! moshilm name=m drain-frames=0 ! fakesink m.text_src ! queue "
           "! filesink location=cut.txt")
    equal(Path("cut.txt").read_text(), "")


def test_reference_tokens():
    """The reference's tokens for all questions of the box, in the manner of its file runner."""
    for name in ("hello", "joke", "name", "two_turns", "unseen_voice_time"):
        text, want = expected(name)
        launch(f"{question(name)} {HEAR} ! moshilm name=m repeat-first-frame=true drain-frames=0 text-mode=piece "
               f"{U16}{name}.u16 m.text_src ! queue ! filesink location={name}.txt")
        equal(tokens(f"{name}.u16"), want, name)
        equal(Path(f"{name}.txt").read_text().strip(), text)


def test_stereo_44100():
    """The usual elements in front make any file fit."""
    launch(f"{question('hello')} ! decodebin ! audioresample ! audioconvert ! audio/x-raw,rate=44100,channels=2 ! wavenc "
           "! filesink location=cd.wav")
    launch(f"filesrc location=cd.wav {HEAR} ! moshilm name=m ! fakesink m.text_src ! queue ! filesink location=cd.txt")
    equal(Path("cd.txt").read_text(), "Hello!Nicetomeetyou.")


def test_wrong_rate():
    """Without them the message says what does not fit."""
    out = launch("audiotestsrc num-buffers=10 ! audio/x-raw,rate=44100,channels=2 ! mimienc ! moshilm ! fakesink", fails=True)
    assert re.search("link|negotiat", out), out


def test_recorded_and_replayed():
    """A recorded user gets the same answer, and a recorded answer sounds the same."""
    launch(f"{question('name')} {HEAR} ! tee name=t ! queue ! mimimux ! filesink location=user.mimi "
           "t. ! queue ! moshilm ! tee name=a ! queue ! mimimux ! filesink location=moshi.mimi "
           "a. ! queue ! mimidec ! audioconvert dithering=none ! audio/x-raw,format=S16LE ! wavenc ! filesink location=live.wav")
    launch("filesrc location=user.mimi ! mimiparse ! moshilm ! mimimux ! filesink location=again.mimi")
    equal(Path("again.mimi").read_bytes(), Path("moshi.mimi").read_bytes())
    launch("filesrc location=moshi.mimi ! mimiparse ! mimidec ! audioconvert dithering=none ! audio/x-raw,format=S16LE "
           "! wavenc ! filesink location=replay.wav")
    equal(samples("replay.wav"), samples("live.wav"))


def test_gdp():
    """Tokens with their caps and times through gdppay."""
    launch(f"{question('hello')} {HEAR} ! gdppay ! filesink location=user.gdp")
    launch("filesrc location=user.gdp ! gdpdepay ! moshilm name=m ! fakesink m.text_src ! queue ! filesink location=gdp.txt")
    equal(Path("gdp.txt").read_text(), "Hello!Nicetomeetyou.")


# ------------------------------------------------------------------------------------------------------ captions

def check_cues(found, *words):
    equal([c[2] for c in found], list(words))
    for a, b in zip(found, found[1:]):
        assert a[0] < a[1] <= b[0], (a, b)


def test_webvtt():
    launch(f"{question('two_turns')} {HEAR} ! moshilm name=m text-mode=line m.src ! fakesink m.text_src ! queue ! webvttenc "
           "! filesink location=reply.vtt")
    text = Path("reply.vtt").read_text()
    assert text.startswith("WEBVTT"), text
    check_cues(cues(text), "I am very well, thank you.", "Goodbye!", "See you soon.")
    assert all(end - start > 0.9 for start, end, words in cues(text)), "too short to be read"


def test_srt():
    launch(f"{question('hello')} {HEAR} ! moshilm name=m m.src ! fakesink m.text_src ! queue ! srtenc "
           "! filesink location=reply.srt")
    found = cues(Path("reply.srt").read_text())
    check_cues(found, "Hello!", "Nice", "to", "meet", "you.")
    # Two frames, of which the first is the 22nd; with a first frame that is stepped once.
    assert abs(found[0][1] - found[0][0] - 0.16) < 0.002, found
    assert 1.5 < found[0][0] < 1.8, found


def test_textoverlay():
    """Captions in the picture: nothing before Moshi speaks, letters while it does."""
    need("textoverlay")
    launch(f"{question('hello')} {HEAR} ! moshilm name=m text-mode=line m.src ! fakesink sync=false "
           "videotestsrc pattern=black num-buffers=30 ! video/x-raw,format=GRAY8,width=320,height=120,framerate=5/1 "
           "! textoverlay name=o ! filesink location=video.gray m.text_src ! queue ! o.text_sink")
    size = 320 * 120
    video = Path("video.gray").read_bytes()
    equal(len(video), 30 * size)
    bright = [sum(b > 128 for b in video[i * size:(i + 1) * size]) for i in range(30)]
    assert max(bright[:7]) == 0 and bright[10] > 20 and bright[-1] == 0, bright


def test_captions_example():
    """examples/captions.sh: every kind of file it makes."""
    script = Path(__file__).resolve().parents[2] / "examples" / "captions.sh"
    need("textoverlay", "vp8enc", "opusenc")
    for name, magic in (("c.srt", b"1\n"), ("c.vtt", b"WEBVTT"), ("c.mkv", b"\x1aE\xdf\xa3"), ("c.webm", b"\x1aE\xdf\xa3")):
        subprocess.run(["sh", script, TINY / "user_hello.wav", name], check=True, timeout=100)
        assert Path(name).read_bytes().startswith(magic), name
    check_cues(cues(Path("c.srt").read_text()), "Hello!", "Nice to meet you.")
    assert b"Nice to meet you." in Path("c.mkv").read_bytes()
    wrong = subprocess.run(["sh", script, "x.wav", "x.ogg"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "must end in" in wrong.stderr, wrong


# ----------------------------------------------------------------------------------------------- latency, leaks

def test_latency():
    """What the elements report is not less than what the tracer measures, algorithmic delay and all. The time of computing
    is given, for a busy machine or a sanitizer would make a matter of luck of what is measured with three frames."""
    out = launch("audiotestsrc is-live=true num-buffers=100 samplesperbuffer=480 ! audio/x-raw,rate=24000,channels=1 "
                 "! mimienc latency=50000000 ! moshilm latency=50000000 drain-frames=0 ! mimidec latency=50000000 "
                 "! fakesink sync=true",
                 GST_TRACERS="latency(flags=element+reported)", GST_DEBUG="GST_TRACER:7")
    for element, least in (("moshilm0", 75e6), ("mimidec0", 0)):
        real = [int(t) for t in re.findall(rf" element-latency,.*{element}.*? time=\(guint64\)(\d+)", out)]
        reported = [int(t) for t in re.findall(rf"element-reported-latency,.*{element},.*? min=\(guint64\)(\d+)", out)]
        assert len(real) > 10 and reported, out[-2000:]
        # The median: other work on the machine is not the element's.
        equal(reported[-1], 130000000 if element == "moshilm0" else 50000000)
        assert least <= statistics.median(real) <= reported[-1], (element, statistics.median(real), reported)


def test_leaks():
    out = launch(f"{question('hello')} {HEAR} ! moshilm name=m ! mimidec ! fakesink m.text_src ! queue ! fakesink",
                 GST_TRACERS="leaks", GST_DEBUG="GST_TRACER:7")
    alive = [line for line in out.splitlines() if "object-alive," in line and "GST_TRACER :0::" in line]
    equal(alive, [])


def test_live_too_slow():
    """Steps that take longer than their frame are told; the pipeline stays in the present."""
    out = launch("-m audiotestsrc is-live=true num-buffers=60 samplesperbuffer=1920 ! audio/x-raw,rate=24000,channels=1 "
                 "! mimienc ! queue ! identity sleep-time=120000 ! moshilm name=m drain-frames=0 ! fakesink sync=false")
    qos = re.findall(r"GstMessageQOS.*?dropped=\(guint64\)(\d+)", out)
    assert qos and int(qos[-1]) > 0, out[-3000:]


# -------------------------------------------------------------------------------------------------------- errors

def test_missing_model():
    out = launch("audiotestsrc num-buffers=1 ! audioconvert ! audioresample ! mimienc ! moshilm model=/nowhere/moshi "
                 "! fakesink", fails=True)
    assert "/nowhere/moshi" in out, out


def test_missing_hub_model():
    out = launch("audiotestsrc num-buffers=1 ! audioconvert ! audioresample ! mimienc ! moshilm "
                 "model=kyutai/moshika-pytorch-bf16 ! fakesink", fails=True, HF_HUB_CACHE="/nowhere", HF_HOME="/nowhere")
    assert "download kyutai/moshika-pytorch-bf16" in out, out


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    failed = 0
    print(f"1..{len(tests)}")
    for i, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            try:
                test()
                print(f"ok {i} {name[5:]}", flush=True)
            except Skip as reason:
                print(f"ok {i} {name[5:]} # SKIP {reason}", flush=True)
            except Exception:
                failed += 1
                print(f"not ok {i} {name[5:]}", flush=True)
                print("\n".join("# " + line for line in traceback.format_exc().splitlines()), flush=True)
            os.chdir("/")
    return failed > 0


if __name__ == "__main__":
    TINY = Path(sys.argv[1])
    sys.exit(main())
