#!/usr/bin/env python3
"""What gst-launch-1.0 tells a user whose model, file or caps do not fit.    test_messages.py TINY_MODEL_DIRECTORY TOOLS

Every case must end, with one message of one of our elements, that names the thing and the cure. Prints TAP."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

SOUND = "audiotestsrc num-buffers=20 ! audioconvert ! audioresample"
CODES = "capsfilter caps=audio/x-mimi,rate=24000,channels=1,codebooks=8,codebook-size=256,frame-duration-us=80000,framed=true"


# An error that comes before gst-launch-1.0 runs its main loop is printed, and the quit that it asks for is lost
# (g_main_loop_quit() before g_main_loop_run()): it must be interrupted then.
LAUNCH = ["timeout", "-s", "INT", "20", "gst-launch-1.0"]


def complaint(line, element):
    """The text for users of the error that the pipeline ends with."""
    done = subprocess.run([*LAUNCH, *line.split()], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "GST_DEBUG_NO_COLOR": "1"})
    out = done.stdout + done.stderr
    assert done.returncode, f"{line}\n{out}"
    errors = re.findall(r"^ERROR: from element \S*/Gst(\w+):\w+: (.+)$", out, re.M)
    # Its sources cannot go on without it, and GStreamer's say so. The end of the stream that they send comes with the caps
    # that were refused, which are refused once more where the pipeline is still there.
    errors = list(dict.fromkeys(e for e in errors if e[1] != "Internal data stream error."))
    assert [name for name, _ in errors] == [element], f"{line}\n{out}"
    assert "assertion" not in out and "CRITICAL" not in out, out
    return errors[0][1], out


def says(line, element, *words):
    text, out = complaint(line, element)
    for word in words:
        assert word in text, f"{line}\nno \"{word}\" in: {text}\n{out}"


def copy_of_tiny(name="model"):
    shutil.copytree(TINY, name, ignore=shutil.ignore_patterns("train", "*.wav"))
    return Path(name).resolve()


def test_missing_file():
    for element, klass in (("mimienc", "MimiEnc"), ("mimienc ! mimidec", "MimiDec"), ("mimienc ! moshilm", "MoshiLm")):
        says(f"{SOUND} ! {element} model=/nowhere/model ! fakesink", klass, "/nowhere/model")


def test_truncated_file():
    model = copy_of_tiny()
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    says(f"{SOUND} ! mimienc ! moshilm model={model} ! fakesink", "MoshiLm", "model.safetensors", "download it again")


def test_wrong_shape():
    model = copy_of_tiny()
    config = model / "config.json"
    config.write_text(config.read_text().replace('"num_layers": 4', '"num_layers": 5'))
    says(f"{SOUND} ! mimienc ! moshilm model={model} ! fakesink", "MoshiLm", "model.safetensors", "layers.4")


def test_no_memory():
    model = copy_of_tiny()
    make_huge(model)
    says(f"{SOUND} ! mimienc ! moshilm model={model} ! fakesink", "MoshiLm", "model.safetensors", "memory", "GB")


def test_no_device():
    says(f"{SOUND} ! mimienc device=abacus ! fakesink", "MimiEnc", "abacus")


def random_codes(size, caps):
    return f"fakesrc num-buffers=20 format=time datarate=200 sizetype=fixed sizemax={size} filltype=random ! {caps}"


def test_codes_out_of_range():
    for element, klass in (("moshilm", "MoshiLm"), ("mimidec", "MimiDec")):
        says(f"{random_codes(16, CODES)},stream-format=u16 ! {element} ! fakesink", klass, "256")


def test_frame_of_another_size():
    for element, klass in (("moshilm", "MoshiLm"), ("mimidec", "MimiDec")):
        says(f"{random_codes(12, CODES)},stream-format=u16 ! {element} ! fakesink", klass, "12", "16")


def refused(line, *words):
    """Caps that do not fit end in a failed negotiation, which upstream reports."""
    done = subprocess.run([*LAUNCH, *line.split()], capture_output=True, text=True, timeout=100)
    out = done.stdout + done.stderr
    assert done.returncode and re.search("negotiat|could not link", out), f"{line}\n{out}"
    for word in words:
        assert word in out, f"{line}\nno \"{word}\" in\n{out}"


def test_stereo_at_44100():
    refused("audiotestsrc num-buffers=9 ! audio/x-raw,rate=44100,channels=2 ! mimienc ! fakesink")
    subprocess.run("gst-launch-1.0 audiotestsrc num-buffers=9 ! audio/x-raw,rate=44100,channels=2 ! wavenc ! filesink "
                   "location=cd.wav".split(), check=True, stdout=subprocess.DEVNULL)
    refused("filesrc location=cd.wav ! wavparse ! mimienc ! fakesink")


def test_caps_that_do_not_fit_the_model():
    """A recording of another codec."""
    for codebooks, size in ((8, 2048), (4, 256)):
        caps = CODES.replace("codebook-size=256", f"codebook-size={size}").replace("books=8", f"books={codebooks}")
        make = f"gst-launch-1.0 -q {random_codes(2 * codebooks, caps)},stream-format=u16 ! mimimux ! filesink location=a.mimi"
        subprocess.run(make.replace("filltype=random", "filltype=zero").split(), check=True)
        says("filesrc location=a.mimi ! mimiparse ! moshilm ! fakesink", "MoshiLm", "8 codebooks of 256",
             f"{codebooks} of {size}")
    make = make.replace("codebook-size=256", "codebook-size=2048").replace("filltype=random", "filltype=zero")
    subprocess.run(make.split(), check=True)
    says("filesrc location=a.mimi ! mimiparse ! mimidec ! fakesink", "MimiDec", "2048", "256", "model=")


def test_neighbours_that_do_not_fit():
    """A filter asks for what the model cannot make or take."""
    says(f"{SOUND} ! mimienc ! audio/x-mimi,codebooks=4 ! moshilm ! fakesink", "MimiEnc", "8 codebooks")
    says(f"{SOUND} ! mimienc ! moshilm ! audio/x-mimi,codebooks=4 ! mimidec ! fakesink", "MoshiLm", "8 codebooks of 256")


def test_quiet_log():
    """A conversation that goes well has nothing to warn of."""
    line = f"{SOUND} ! mimienc ! moshilm drain-frames=5 ! mimidec ! fakesink"
    done = subprocess.run(["gst-launch-1.0", *line.split()], capture_output=True, text=True, timeout=100,
                          env={**os.environ, "GST_DEBUG_NO_COLOR": "1", "GST_DEBUG": "2"})
    out = done.stdout + done.stderr
    assert done.returncode == 0 and not re.search("WARN|ERROR", out), out
    # START and COMPLETE of three elements, and seldom more: the model is small.
    assert 3 <= out.count("Progress:") < 30, out


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
            except Exception:
                failed += 1
                print(f"not ok {i} {name[5:]}", flush=True)
                print("\n".join("# " + line for line in traceback.format_exc().splitlines()), flush=True)
            os.chdir("/")
    return failed > 0


if __name__ == "__main__":
    TINY = Path(sys.argv[1])
    sys.path.insert(0, sys.argv[2])
    from huge import make_huge
    sys.exit(main())
