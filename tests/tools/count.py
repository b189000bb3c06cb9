#!/usr/bin/env python3
"""Counts the tests of one `meson test` run and shows the failing ones in full.

    count.py COUNTS TESTLOG.json

Every subtest of a TAP program counts, any other program counts as one. Prints one line for each failure or skip, and
all that a failing program said; appends "PASSED FAILED SKIPPED" to the file COUNTS.
"""
import json
import re
import sys

TAP = re.compile(r"^(not )?ok\b[^#]*(#\s*(skip|todo)\b.*)?", re.I | re.M)


def subtests(text):
    """(passed, failed, skipped) of a TAP stream."""
    passed = failed = skipped = 0
    for negated, directive, kind in TAP.findall(text):
        if kind.lower() == "skip":
            skipped += 1
        elif negated and kind.lower() != "todo":
            failed += 1
        else:
            passed += 1
    return passed, failed, skipped


def count(test):
    passed, failed, skipped = subtests(test.get("stdout", "")) if "TAP version" in test.get("stdout", "") or \
        re.search(r"^1\.\.\d", test.get("stdout", ""), re.M) else (0, 0, 0)
    result = test["result"]
    if result in ("OK", "EXPECTEDFAIL"):
        return (passed, failed, skipped) if passed + failed + skipped else (1, 0, 0)
    if result == "SKIP":
        return (0, 0, skipped or 1)
    # A crash or a timeout is a failure of its own, whatever had passed before.
    return passed, failed or 1, skipped


def main():
    counts, log = sys.argv[1:3]
    total = [0, 0, 0]
    for line in open(log, encoding="utf-8", errors="replace"):
        test = json.loads(line)
        n = count(test)
        total = [a + b for a, b in zip(total, n)]
        if n[1]:
            print(f"---- {test['name']}: {test['result']}, exit code {test['returncode']}")
            print("command:", " ".join(test["command"]))
            for stream in ("stdout", "stderr"):
                if test.get(stream):
                    print(f"{stream}:\n{test[stream].rstrip()}")
            print("----")
        elif n[2]:
            print(f"skipped: {test['name']} ({n[2]})")
    with open(counts, "a") as f:
        print(*total, file=f)


if __name__ == "__main__":
    main()
