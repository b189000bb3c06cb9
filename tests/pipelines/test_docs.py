#!/usr/bin/env python3
"""Every command of the documentation runs.    test_docs.py SOURCE_DIRECTORY TINY_MODEL_DIRECTORY FILE…

Of Markdown files the commands in ```sh blocks, of C files those of the examples in the documentation of elements: lines
that start gst-launch-1.0 or gst-play-1.0. They run in order, in a directory that holds the questions of the model in the box.
A line that ends in & runs until the next has ended. Devices are replaced; a command with … is no command. Prints TAP."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# What a test machine does not have.
REPLACED = {
    "autoaudiosrc": "audiotestsrc is-live=true num-buffers=100",
    "autoaudiosink": "fakesink sync=true",
    "playbin": "playbin audio-sink=fakesink",
    "file:///tmp": "file://$PWD",
}
# What goes on for ever is stopped after a while.
ENDLESS = "force-live=true"
COMMAND = re.compile(r"^(\w+=(\"[^\"]*\"|\S+) )*gst-(launch|play)-1\.0 ")
TIMEOUT = 60


def commands(path):
    text = path.read_text()
    if path.suffix == ".c":
        lines = [re.sub(r"^ \* ?", "", line) for block in re.findall(r"\|\[\n(.*?)\]\|", text, re.S)
                 for line in block.splitlines()]
    else:
        lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.S | re.M) for line in block.splitlines()]
    return [line for line in lines if COMMAND.match(line) and "…" not in line]


def missing_element(command):
    for word in re.findall(r"(?:!|^|-1\.0(?: -\w)*|\. |\s)\s*([a-z][a-z0-9_]+)(?= |$)", command):
        if word in OPTIONAL and subprocess.run(["gst-inspect-1.0", word], stdout=subprocess.DEVNULL).returncode:
            return word
    return None


# Debian has them in packages that a small machine may lack.
OPTIONAL = {"textoverlay", "webrtcdsp", "webrtcechoprobe", "vp8enc", "srtenc", "webvttenc"}


def free_port(written):
    """A port of the documentation, on a machine where somebody may have it."""
    if written not in PORTS:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            udp.bind(("127.0.0.1", tcp.getsockname()[1]))
            PORTS[written] = tcp.getsockname()[1]
    return PORTS[written]


PORTS = {}


def start(command):
    for device, stand_in in REPLACED.items():
        command = re.sub(rf"\b{device}\b", stand_in, command)
    command = re.sub(r"\bport=(\d+)", lambda m: f"port={free_port(m[1])}", command)
    command = command.replace(" ! ", " '!' ").replace("gst-launch-1.0", "exec gst-launch-1.0").replace("gst-play-1.0", "exec gst-play-1.0")
    return subprocess.Popen(["sh", "-c", command.removesuffix(" &")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors="replace")


def finish(process):
    try:
        out, _ = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        return f"still running after {TIMEOUT} s\n{out}"
    if process.returncode or "ERROR" in out:
        return f"exit code {process.returncode}\n{out}"
    return None


def run(command, background):
    """What went wrong, or None."""
    process = start(command)
    if command.endswith(" &"):
        background.append((command, process))
        time.sleep(1)  # to bind its port; a client has no other way to know
        return None
    if ENDLESS in command:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
    problem = finish(process)
    while background:
        other, process = background.pop()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        problem = problem or (f"{other}\n{p}" if (p := finish(process)) else None)
    return problem


def main():
    source, tiny, files = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    todo = [(name, command) for name in files for command in commands(source / name)]
    print(f"1..{len(todo)}")
    failed, n, background = 0, 0, []
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for question in tiny.glob("user_*.wav"):
            shutil.copy(question, directory)
        for name, command in todo:
            n += 1
            label = f"{n} {name}: {command[:70].replace('#', '')}"
            if lacks := missing_element(command):
                print(f"ok {label} # SKIP no element {lacks}", flush=True)
            elif problem := run(command, background):
                failed += 1
                print(f"not ok {label}", flush=True)
                print("\n".join("# " + line for line in [command, *problem.splitlines()[-30:]]), flush=True)
            else:
                print(f"ok {label}", flush=True)
        os.chdir("/")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
