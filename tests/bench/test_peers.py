#!/usr/bin/env python3
"""The comparison with the peers, with programs in place of them that only print numbers."""
import json
import os
import tempfile
import types
import unittest
from pathlib import Path

import peers


class Peers(unittest.TestCase):
    def program(self, text):
        path = Path(self.folder.name) / f"program-{len(os.listdir(self.folder.name))}"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)
        return str(path)

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_table(self):
        text = peers.table([("mimi-encode", 1, "A", 10, 50), ("mimi-encode", 1, "B", 10, 40),
                            ("mimi-encode", 1, "A", 20, 60), ("mimi-encode", 1, "A", 10, 70)])
        self.assertEqual(text.splitlines()[2:], [
            "| Mimi encodes | 1 | 10.0 | A | 60.0 | 5.0 (3.0 to 7.0) |",
            "| Mimi encodes | 1 | 10.0 | B | 40.0 | 4.0 (4.0 to 4.0) |"])

    def test_session(self):
        rows = {"mimi-encode": 30.0, "mimi-decode": 20.0, "lm-step": 90.0}
        own = "".join(f"echo '{json.dumps({'bench': name, 'ms_median': 10.0})}'\n" for name in rows)
        other = f"""case "$*" in
          *rustymimi*|*'PyTorch Mimi'*) echo 'a warning'; echo '{json.dumps({k: rows[k] for k in ("mimi-encode", "mimi-decode")})}' ;;
          *) echo '{json.dumps({"lm-step": rows["lm-step"]})}' ;;
        esac"""
        arguments = types.SimpleNamespace(bench=self.program(own), python=self.program(other), frames=1, rounds=2, part=None,
                                          mimi="codec", lm="model")
        samples = peers.session(arguments)
        self.assertEqual({(row, other) for row, _, _, _, other in samples}, set(rows.items()))
        self.assertEqual({name for _, _, name, _, _ in samples}, {"rustymimi", "PyTorch"})
        text = peers.table(samples)
        self.assertIn("| 10.0 | rustymimi | 30.0 | 3.0 (3.0 to 3.0) |", text)
        self.assertIn("| STT 1B, bf16, a step |", text)

    def test_failure(self):
        with self.assertRaisesRegex(RuntimeError, "no such model"):
            peers.run([self.program("echo one >&2; echo no such model >&2; exit 3")], os.sched_getaffinity(0))


if __name__ == "__main__":
    unittest.main(verbosity=2)
