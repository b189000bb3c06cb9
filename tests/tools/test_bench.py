#!/usr/bin/env python3
"""moshi-bench runs and says all it has to; no time is judged.    test_bench.py MOSHI_BENCH"""
import json
import subprocess
import sys
import unittest

FIELDS = {"bench": str, "shape": str, "quantization": str, "device": str, "threads": int, "batch": int, "frames": int,
          "ms_min": float, "ms_median": float, "ms_p99": float, "bytes_per_frame": int, "machine_gb_s": float,
          "bandwidth_fraction": float, "peak_rss_mb": (int, float)}


def bench(*arguments):
    done = subprocess.run([BENCH, *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


class Bench(unittest.TestCase):
    def rows(self, *arguments):
        code, out, err = bench(*arguments, "--json")
        self.assertEqual((code, err), (0, ""))
        rows = [json.loads(line) for line in out.splitlines()]
        for row in rows:
            for field, kind in FIELDS.items():
                self.assertIsInstance(row[field], kind, field)
            self.assertTrue(0 < row["ms_min"] <= row["ms_median"] <= row["ms_p99"], row)
            self.assertGreater(row["machine_gb_s"], 0)
            self.assertGreater(row["bytes_per_frame"], 0)
        return rows

    def test_mimi(self):
        rows = self.rows("mimi", "--shape", "tiny", "--frames", "3", "--threads", "1")
        self.assertEqual([r["bench"] for r in rows], ["mimi-encode", "mimi-decode"])
        self.assertTrue(all((r["shape"], r["threads"], r["frames"]) == ("tiny", 1, 3) for r in rows))

    def test_lm(self):
        rows = self.rows("lm", "--shape", "tiny", "--frames", "3", "--batch", "2", "--device", "cpu")
        self.assertEqual([r["bench"] for r in rows], ["lm-step", "lm-depth"])
        self.assertEqual(rows[0]["batch"], 2)
        self.assertGreater(rows[0]["bytes_per_frame"], rows[1]["bytes_per_frame"])

    def test_formats(self):
        # Bits of a weight, scales included, against those of bf16; what of the model is in no format is the same.
        bits = {"i8": 8, "q8_0": 8.5, "q8": 8.5, "q4_0": 4.5, "q4": 4.5, "mlx8": 8.5, "mlx4": 5}
        depth = {name: self.rows("lm", "--shape", "tiny", "--frames", "1", "--quantization", name)[1]["bytes_per_frame"]
                 for name in ("none", "q8", *bits)}
        for name, wanted in bits.items():
            self.assertAlmostEqual(depth[name] / depth["none"], wanted / 16, delta=0.1, msg=name)
        self.assertEqual(depth["q8"], depth["q8_0"])

    def test_filled(self):
        empty, full = (self.rows("lm", "--shape", "tiny", "--frames", "2", "--context", "48", *more)[0]
                       for more in ([], ["--filled", "48"]))
        self.assertEqual((empty["context"], empty["filled"], full["filled"]), (48, 0, 48))
        # Two sides of four layers of 128 floats, for each of the steps that are there.
        self.assertEqual(full["bytes_per_frame"] - empty["bytes_per_frame"], (48 - 5) * 2 * 4 * 128 * 4)

    def test_kv_type(self):
        kept = {t: self.rows("lm", "--shape", "tiny", "--frames", "2", "--context", "48", "--filled", "48", "--kv-type", t)[0]
                for t in ("f32", "bf16", "int8")}
        self.assertEqual([r["kv_type"] for r in kept.values()], list(kept))
        rows = 48 * 2 * 4 * 128  # as above
        self.assertEqual(kept["f32"]["bytes_per_frame"] - kept["bf16"]["bytes_per_frame"], 2 * rows)
        self.assertLess(kept["int8"]["bytes_per_frame"], kept["bf16"]["bytes_per_frame"])

    def test_streams(self):
        row, = self.rows("mimi", "--shape", "tiny", "--streams", "3", "--seconds", "1", "--threads", "1")
        self.assertEqual((row["bench"], row["streams"], row["frames"]), ("mimi-streams", 3, 3 * 12))
        self.assertIsInstance(row["holds"], bool)

    def test_streams_are_searched(self):
        row, = self.rows("mimi", "--shape", "tiny", "--batch", "64", "--streams", "auto", "--seconds", "1", "--threads", "1")
        self.assertTrue(row["streams"] >= 1, row)

    def test_model(self):
        row = self.rows("lm", "--model", TINY, "--frames", "2")[0]
        self.assertEqual(row["shape"], TINY)

    def test_bytes_of_the_released_mimi(self):
        # f32 weights, the codebooks that are searched as bf16: 165 MB to encode, 161 MB to decode, and a little cache.
        encode, decode = self.rows("mimi", "--shape", "mimi", "--frames", "1")
        self.assertTrue(164e6 < encode["bytes_per_frame"] < 169e6, encode)
        self.assertTrue(160e6 < decode["bytes_per_frame"] < 165e6, decode)

    def test_busy(self):
        quiet, busy = self.rows("mimi", "--shape", "tiny", "--frames", "2", "--busy", "1")[::2]
        self.assertNotIn("busy", quiet)
        self.assertEqual(busy["busy"], 1)
        self.assertGreater(busy["worst_to_quiet"], 0)

    def quality(self, *arguments):
        code, out, err = bench("quality", *arguments, "--json")
        self.assertEqual((code, err), (0, ""))
        return {(row["bench"], row.get("of")): row for row in map(json.loads, out.splitlines())}

    def test_quality_of_products(self):
        rows = self.quality()
        errors = {name.split(":")[1]: row["error"] for (name, _), row in rows.items()}
        self.assertLess(errors["f32"], 1e-6)
        for finer, coarser in (("f16", "bf16"), ("bf16", "q8_0"), ("i8", "q4_0"), ("q8_0", "q4_0"), ("mlx8", "mlx4")):
            self.assertLess(errors[finer], errors[coarser])
        for row in rows.values():
            self.assertLessEqual(row["of_bound"], 1, row)

    def test_quality_of_a_model(self):
        rows = self.quality("--model", TINY, "--frames", "20")
        # Its weights are bf16, and stay it; 4 bits are seen, and seen to be no noise.
        self.assertEqual(rows["quality:bf16", "audio"]["logits_error"], 0)
        for part, draws in (("text", 20), ("audio", 160)):
            self.assertEqual(rows["quality:q8_0", part]["draws"], draws)
            self.assertLess(rows["quality:q8_0", part]["logits_error"], 0.02)
            self.assertTrue(0.02 < rows["quality:q4_0", part]["logits_error"] < 0.3)
            self.assertLess(rows["quality:kv-bf16", part]["logits_error"], rows["quality:kv-int8", part]["logits_error"])
        self.assertNotIn(("quality:q4_k", "text"), rows)  # no row of this model is of whole blocks

    def test_kernels(self):
        rows = self.rows("kernels", "rms_norm")
        self.assertTrue(rows and all(r["bench"] == "kernel:rms_norm" for r in rows))

    def test_text(self):
        code, out, err = bench("lm", "--shape", "tiny", "--frames", "1")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("lm-depth", out)

    def test_errors(self):
        for arguments, message in ((["lm", "--shape", "nothing"], 'no shape "nothing"'),
                                   (["lm", "--shape", "mimi"], "no language model"),
                                   (["lm", "--shape", "tiny", "--quantization", "q3"], "q3"),
                                   (["lm", "--shape", "tiny", "--model", "x"], "not both"),
                                   (["mimi", "--shape", "tiny", "--codebooks", "9"], "the model has 8"),
                                   (["mimi", "--shape", "tiny", "--frames", "0"], "--frames"),
                                   (["mimi", "--shape", "tiny", "--streams", "many"], "--streams many"),
                                   (["lm", "--shape", "tiny", "--context", "-1"], "--context"),
                                   (["song"], '"song"')):
            code, out, err = bench(*arguments)
            self.assertEqual((code, out, err.count("\n")), (1, "", 1), arguments)
            self.assertIn(message, err)


if __name__ == "__main__":
    BENCH, TINY = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main(verbosity=2)
