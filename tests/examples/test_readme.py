"""test_readme.py README QUESTION WORK: runs the README's pipelines as they are pasted, in their
order and in one folder, and looks at the files they write."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


def commands(text):
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if line.startswith(("gst-launch-1.0 ", "gst-play-1.0 ")))


def missing_element(command):
    """The first of GStreamer's own elements that is not installed here."""
    for name in re.findall(r"(?<=[!\w.] )([a-z0-9]{3,})(?= |$)", command):
        known = subprocess.run(["gst-inspect-1.0", "--exists", name]).returncode == 0
        if not known and name.endswith(("enc", "mux", "overlay")) and not name.startswith("mimi"):
            return name
    return None


def main():
    readme, question, work = (Path(a).resolve() for a in sys.argv[1:])
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    shutil.copy(question, work / "user_hello.wav")
    os.chdir(work)
    todo = list(commands(readme.read_text()))
    print(f"1..{len(todo)}", flush=True)
    failed = False
    for i, command in enumerate(todo, 1):
        name = " ".join(re.findall(r"filesink location=(\S+)", command)) or command.split()[0]
        if "autoaudio" in command:
            print(f"ok {i} {name} # SKIP needs a sound device", flush=True)
            continue
        run = subprocess.run(["timeout", "60", "sh", "-c", command], capture_output=True, text=True,
                             stdin=subprocess.DEVNULL)
        written = [Path(f) for f in re.findall(r"filesink location=(\S+)", command)]
        empty = [str(f) for f in written if not f.exists() or f.stat().st_size < 45]
        element = missing_element(command) if run.returncode else None
        if element:
            print(f"ok {i} {name} # SKIP there is no element {element}", flush=True)
            continue
        said = run.stdout + run.stderr
        good = run.returncode == 0 and not empty and "CRITICAL" not in said and "ERROR" not in said
        failed |= not good
        print(f"{'ok' if good else 'not ok'} {i} {name}", flush=True)
        if not good:
            print("\n".join("# " + line for line in [command, f"exit code {run.returncode}, empty: {empty}"] +
                            said.splitlines()[-30:]), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
