#!/usr/bin/env python3
"""moshi-replay from the outside: files, exit codes, and the one line a user reads.

    test_replay.py MOSHI_REPLAY TINY_MODEL
"""
import array
import json
import math
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from huge import make_huge


def tone(samples):
    return array.array("f", [0.2 * math.sin(i / 20) for i in range(samples)]).tobytes()


class Replay(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.out = self.folder / "out"

    def file(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return path

    def replay(self, *arguments):
        return subprocess.run([REPLAY, *map(str, arguments)], capture_output=True, text=True, timeout=300)

    def works(self, command, data, *arguments, model=None):
        """What it writes for that input."""
        source = self.file("in", data)
        done = self.replay(command, "--model", model or TINY, "--in", source, "--out", self.out, *arguments)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        self.assertEqual(sorted(p.name for p in self.folder.iterdir() if p.name.startswith("out")), ["out"])
        return self.out.read_bytes()

    def fails(self, *arguments, says):
        """Exit code 1, one line on stderr that has all of `says`, and no output file."""
        done = self.replay(*arguments)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)
        self.assertFalse([p for p in self.folder.iterdir() if p.name.startswith("out")])

    def fails_on(self, command, data, *arguments, says, model=None):
        source = self.file("in", data)
        self.fails(command, "--model", model or TINY, "--in", source, "--out", self.out, *arguments, says=says)

    # -------------------------------------------------------------- what works

    def test_there_and_back(self):
        codes = self.works("encode", tone(3 * 1920))
        self.assertEqual(len(codes), 3 * 8 * 2)
        self.assertEqual(len(self.works("decode", codes, "--codebooks", 8)), 3 * 1920 * 4)
        rows = array.array("i", array.array("H", codes))
        self.assertEqual(len(self.works("lm", rows.tobytes())), 3 * 9 * 4)

    def test_fewer_codebooks_are_the_first_ones(self):
        all8 = array.array("H", self.works("encode", tone(4000)))
        first3 = array.array("H", self.works("encode", tone(4000), "--codebooks", 3))
        self.assertEqual([c for f in range(3) for c in all8[8 * f:8 * f + 3]], list(first3))

    def test_partial_last_frame_is_completed_with_silence(self):
        padded = tone(2000) + bytes(4 * (2 * 1920 - 2000))
        self.assertEqual(self.works("encode", tone(2000)), self.works("encode", padded))

    def test_empty_files(self):
        self.assertEqual(self.works("encode", b""), b"")
        self.assertEqual(self.works("decode", b"", "--codebooks", 8), b"")
        self.assertEqual(self.works("lm", b""), b"")

    def test_first_steps_are_not_ready(self):
        out = array.array("i", self.works("lm", array.array("i", [-1] * 16).tobytes()))
        self.assertEqual(list(out[:9]), [-2] * 9)
        self.assertTrue(all(token >= 0 for token in out[9:]))

    def test_seeds(self):
        rows = array.array("i", [-1] * 8 * 12).tobytes()
        sampled = self.hot_model()
        run = lambda *a: self.works("lm", rows, *a, model=sampled)
        self.assertEqual(run("--seed", 5), run("--seed", 5))
        self.assertNotEqual(run("--seed", 5), run("--seed", 6))
        self.assertEqual(run("--greedy", "--seed", 5), run("--greedy", "--seed", 6))
        self.assertEqual(run("--seed", 2 ** 64 - 1), run("--seed", 2 ** 64 - 1))

    def hot_model(self):
        """The model in the box, asked by its configuration to sample."""
        folder = self.folder / "hot"
        folder.mkdir()
        for path in Path(TINY).iterdir():
            if path.is_file() and path.name != "config.json":
                (folder / path.name).symlink_to(path.resolve())
        config = json.loads((Path(TINY) / "config.json").read_text())
        config["lm_gen_config"] = {"temp": 20.0, "temp_text": 20.0, "top_k": 100, "top_k_text": 100}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    def test_logits(self):
        path = self.folder / "logits"
        self.works("lm", array.array("i", [-1] * 16).tobytes(), "--logits", path)
        self.assertEqual(path.stat().st_size, 2 * 4 * (512 + 8 * 256))

    def test_output_to_a_device(self):
        source = self.file("in", tone(1920))
        done = self.replay("encode", "--model", TINY, "--in", source, "--out", "/dev/null")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertTrue(Path("/dev/null").is_char_device())

    def test_help(self):
        for arguments in ([], ["encode"], ["decode"], ["lm"]):
            done = self.replay(*arguments, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("--in", done.stdout)

    # ------------------------------------------------------- the command line

    def test_wrong_command_lines(self):
        codes = self.file("codes", b"")
        io = ["--in", codes, "--out", self.out]
        self.fails(says=["encode, decode or lm"])
        self.fails("sing", says=['"sing"'])
        self.fails("encode", "--out", self.out, says=["--in"])
        self.fails("encode", "--in", codes, says=["--out"])
        self.fails("encode", *io, "--nonsense", says=["--nonsense"])
        self.fails("encode", *io, "more", says=["more"])
        self.fails("decode", "--model", TINY, *io, says=["--codebooks"])
        self.fails("decode", "--model", TINY, "--codebooks", 9, *io, says=["--codebooks 9", "has 8"])
        self.fails("encode", "--model", TINY, "--codebooks", 9, *io, says=["9", "8"])
        self.fails("encode", "--model", TINY, "--codebooks", -1, *io, says=["--codebooks"])
        self.fails("lm", "--model", TINY, *io, "--quantization", "q5", says=["q5", "none"])
        self.fails("lm", "--model", TINY, *io, "--device", "toaster", says=["toaster"])
        self.fails("lm", "--model", TINY, *io, "--threads", -3, says=["-3"])
        self.fails("lm", "--model", TINY, *io, "--seed", "x", says=["--seed x"])
        self.fails("lm", "--model", TINY, *io, "--condition", "loud", says=["loud", "NAME=VALUE"])
        self.fails("lm", "--model", TINY, *io, "--condition", "mood=good", says=["mood"])
        self.fails("lm", "--model", TINY, *io, "--heads", self.folder / "h", says=["extra heads"])

    # --------------------------------------------------------------- bad files

    def test_wrong_sizes(self):
        self.fails_on("encode", b"12345", says=["in", "multiple of 4"])
        self.fails_on("decode", b"1234567", "--codebooks", 8, says=["in", "16 bytes", "--codebooks"])
        self.fails_on("lm", b"1234567", says=["in", "32 bytes", "8 codes"])

    def test_tokens_out_of_range(self):
        self.fails_on("decode", struct.pack("<16H", *[0] * 9, 256, *[0] * 6), "--codebooks", 8,
                      says=["in", "frame 1", "256"])
        for code in (257, -2, 2 ** 31 - 1):
            self.fails_on("lm", struct.pack("<8i", *[0] * 7, code), says=["in", "frame 0", str(code)])

    def test_missing_input(self):
        self.fails("encode", "--model", TINY, "--in", "/nonexistent/in.f32", "--out", self.out,
                   says=["/nonexistent/in.f32", "No such file"])

    def test_output_that_cannot_be_written(self):
        self.fails("encode", "--model", TINY, "--in", self.file("in", b""), "--out", "/nonexistent/out",
                   says=["/nonexistent/out", "No such file"])

    def test_full_disk(self):
        self.fails("decode", "--model", TINY, "--codebooks", 8, "--in", self.file("in", bytes(160)), "--out", "/dev/full",
                   says=["/dev/full", "No space left"])

    # -------------------------------------------------------------- bad models

    def test_missing_model(self):
        self.fails_on("encode", b"", model="/nonexistent/model", says=["/nonexistent/model"])

    def test_model_of_the_hub_that_is_not_here(self):
        self.fails_on("lm", b"", model="kyutai/not-downloaded", says=["kyutai/not-downloaded", "download"])

    def copy_of_tiny(self):
        folder = self.folder / "model"
        shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("train"))
        return folder

    def test_truncated_model(self):
        folder = self.copy_of_tiny()
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000000])
        self.fails_on("lm", b"", model=folder, says=[str(weights)])

    def test_empty_model_file(self):
        folder = self.copy_of_tiny()
        (folder / "mimi.safetensors").write_bytes(b"")
        self.fails_on("encode", b"", model=folder, says=["mimi.safetensors"])

    def test_missing_config(self):
        folder = self.copy_of_tiny()
        (folder / "config.json").unlink()
        self.fails_on("lm", b"", model=folder, says=["config.json"])

    def test_config_of_another_model(self):
        folder = self.copy_of_tiny()
        config = json.loads((folder / "config.json").read_text())
        config["dim"] = 256
        (folder / "config.json").write_text(json.dumps(config))
        self.fails_on("lm", b"", model=folder, says=["model.safetensors", "shape", "256"])

    def test_more_memory_than_there_is(self):
        """A language model of 1 TB."""
        folder = self.copy_of_tiny()
        make_huge(folder)
        self.fails_on("lm", b"", model=folder, says=["model.safetensors", "memory", "GB"])


if __name__ == "__main__":
    REPLAY, TINY = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main(verbosity=2)
