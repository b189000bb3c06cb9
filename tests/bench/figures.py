#!/usr/bin/env python3
"""Measures this machine with moshi-bench and prints the tables of docs/performance.md.

    figures.py MOSHI_BENCH MOSHI_REPLAY [TABLE…]

Tables: codec lm busy streams start kernels quality; all of them take some eight minutes. Nothing else should be running.
A table says with which arguments of moshi-bench each of its rows was made.
"""
import json
import os
import shlex
import struct
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny-model"
MULTIPLY_ADDS = {"mimi-encode": 221e6, "mimi-decode": 220e6}  # a frame


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)}: {done.stderr.strip()}")
    return done.stdout


def rows(arguments):
    """The rows of one run of moshi-bench by their names, with its arguments."""
    print(f"moshi-bench {arguments} …", file=sys.stderr, flush=True)
    out = [json.loads(line) for line in call(BENCH, *shlex.split(arguments), "--json").splitlines()]
    return [dict(row, arguments=f"`{arguments}`") for row in out]


def table(columns, lines):
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for line in lines:
        print("| " + " | ".join(str(cell) for cell in line) + " |", flush=True)
    print()


def percent(x, digits=0):
    return f"{100 * x:.{digits}f} %"


def memory_gb():
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 1e6
    return 0


# ------------------------------------------------------------------------------------------------------- the tables

def machine():
    """GFLOP/s of one thread, and the kernels' tier."""
    best = rows("kernels add")[-1]
    return best["machine_gflop_s"], best["device"]


def codec():
    gflop_s, tier = machine()
    cores = len(os.sched_getaffinity(0))
    print(f"One thread does {gflop_s:.0f} GFLOP/s ({tier}).\n")
    lines, single = [], {}
    for arguments, threads, batch in (("--threads 1", 1, 1), ("--threads 2", 2, 1), ("--threads 2 --batch 8", 2, 8),
                                      ("--threads 1 --weights bf16", 1, 1), ("--threads 2 --weights bf16", 2, 1)):
        if threads > cores:
            continue
        for row in rows(f"mimi --shape mimi --frames 100 {arguments}"):
            name, ms = row["bench"], row["ms_median"]
            single.setdefault((name, threads), ms)
            gflop = 2e-9 * MULTIPLY_ADDS[name] * batch
            lines.append((row["arguments"], name.split("-")[1], f"{row['ms_min']:.1f}", f"{ms:.1f}",
                          f"{row['ms_p99']:.1f}", f"{row['cpu_ms'] / batch:.1f}", percent(row["bandwidth_fraction"]),
                          percent(gflop / (ms / 1e3) / gflop_s / threads),
                          f"{single[name, threads] * batch / ms:.2f}"))
    table(("`moshi-bench`", "", "least ms", "median", "p99", "processor ms a stream", "of the bandwidth", "of the FMA peak",
           "throughput of one stream"), lines)


LM = [("stt-1b", q, "") for q in ("none", "q8", "q4", "i8", "q4_0", "q4_k", "mlx8", "mlx4")]
LM += [("hibiki-1b", "q8", ""), ("hibiki-2b", "q4", "")]
LM += [("moshi-7b", q, f"--filled 250 --context 250") for q in ("none", "q8", "q4")]
LM += [("moshi-7b", "q4", f"--filled 3000{kv}") for kv in ("", " --kv-type bf16", " --kv-type int8")]
LM += [("moshi-7b", "q8", "--filled 3000 --kv-type int8")]


def lm():
    threads = min(2, len(os.sched_getaffinity(0)))
    lines = []
    for shape, quantization, more in LM:
        if (shape, quantization) == ("moshi-7b", "none") and memory_gb() < 20:
            continue
        big = shape == "moshi-7b"
        run = rows(f"lm --shape {shape} --quantization {quantization} --threads {threads} --frames {20 if big else 50} "
                   f"{more}".rstrip())
        step, depth = run[0], (run + [None])[1]
        lines.append((step["arguments"], f"{step['ms_min']:.1f}", f"{step['ms_median']:.1f}", f"{step['ms_p99']:.1f}",
                      f"{step['bytes_per_frame'] / 1e9:.2f}", percent(step["bandwidth_fraction"]),
                      f"{depth['ms_median']:.1f}, {percent(depth['bandwidth_fraction'])}" if depth else "",
                      f"{step['peak_rss_mb'] / 1e3:.1f}"))
    table(("`moshi-bench`", "least ms", "median", "p99", "GB a step", "of the bandwidth", "of it the depth transformer",
           "peak GB"), lines)


def busy():
    lines = []
    for arguments in ("mimi --shape mimi", "lm --shape stt-1b --quantization q8", "lm --shape tiny"):
        for row in rows(f"{arguments} --threads 2 --busy 2"):
            if "busy" in row:
                lines.append((row["arguments"], row["bench"], f"{row['ms_max'] / row['worst_to_quiet']:.1f}",
                              f"{row['ms_median']:.1f}", f"{row['ms_p99']:.1f}", f"{row['ms_max']:.1f}",
                              f"{row['worst_to_quiet']:.1f}"))
    table(("`moshi-bench`", "", "quiet median ms", "beside two: median", "p99", "worst", "worst ÷ quiet"), lines)


def streams():
    lines = []
    for arguments in ("mimi --shape mimi --threads 1", "mimi --shape mimi --threads 1 --batch 4",
                      "mimi --shape tiny --threads 1", "lm --shape stt-1b --quantization q8",
                      "lm --shape stt-1b --quantization q4 --batch 4", "lm --shape tiny --threads 1"):
        row, = rows(f"{arguments} --streams auto")
        lines.append((row["arguments"], row["streams"] * row["batch"] if row["holds"] else 0, f"{row['ms_median']:.0f}",
                      f"{row['ms_p99']:.0f}", f"{row['cpu_ms'] / row['batch']:.1f}", f"{row['peak_rss_mb']:.0f}"))
    table(("`moshi-bench`", "streams", "done after, median ms", "p99", "processor ms a frame", "peak MB"), lines)


def start():
    lines = []
    for what, model in (("the model in the box", str(TINY)), *((m, m) for m in filter(None, [os.environ.get("START_MODEL")]))):
        row, = rows(f"start --model {shlex.quote(model)}")
        lines.append((what, f"{row['ms_median']:.0f}", f"{row['peak_rss_mb']:.0f}"))
    table(("`moshi-bench start --model`", "ms to the first token", "peak MB"), lines)


def kernels():
    lines = []
    for name in ("gemm", "matvec", "attention"):
        for row in rows(f"kernels {name}"):
            share = max(row["bandwidth_fraction"], row["gflop_s"] / row["machine_gflop_s"])
            if row["device"] != "cpu (c)":
                lines.append((row["bench"].split(":")[1], row["shape"], row["device"], f"{1e3 * row['ms_median']:.1f}",
                              f"{row['bytes_per_frame'] / row['ms_median'] / 1e6:.1f}", f"{row['gflop_s']:.1f}",
                              percent(share)))
    table(("kernel", "rows × outputs × inputs", "", "µs", "GB/s", "GFLOP/s", "of what limits it"), lines)


def spoken_codes(folder):
    """The user's voice of the examples, as the model in the box hears it: i32 codes."""
    sound = b""
    for path in sorted(TINY.glob("user_*.wav")):
        with wave.open(str(path)) as file:
            samples = struct.unpack(f"<{file.getnframes()}h", file.readframes(file.getnframes()))
        sound += struct.pack(f"<{len(samples)}f", *(x / 32768 for x in samples))
    Path(folder, "sound").write_bytes(sound)
    call(REPLAY, "encode", "--model", str(TINY), "--in", f"{folder}/sound", "--out", f"{folder}/codes")
    codes = Path(folder, "codes").read_bytes()
    count = len(codes) // 2
    Path(folder, "user").write_bytes(struct.pack(f"<{count}i", *struct.unpack(f"<{count}H", codes)))
    return f"{folder}/user"


def distances(arguments):
    found = {}
    for row in rows(arguments):
        found.setdefault(row["bench"].split(":")[1], {})[row["of"]] = row
    return found


def quality():
    products = [(row["bench"].split(":")[1], f"{row['bits']:.1f}", percent(row["rounding"], 3), percent(row["error"], 3),
                 percent(row["of_bound"], 1)) for row in rows("quality")]
    table(("format", "bits", "products off by the rounding of the weights", "as computed", "most of the bound"), products)
    with tempfile.TemporaryDirectory() as folder:
        heard = distances(f"quality --model {shlex.quote(str(TINY))} --in {spoken_codes(folder)} --frames 1000")
    models = [("the model in the box", heard)] + \
        [(Path(model).name, distances(f"quality --model {shlex.quote(model)} --frames 100"))
         for model in filter(None, os.environ.get("QUALITY_MODELS", "").split(":"))]
    for name, found in models:
        print(f"{name}:\n")
        lines = []
        for what, parts in found.items():
            line = [what]
            for part in ("text", "audio"):
                row = parts.get(part)
                line += [percent(row["logits_error"], 2), percent(row["top1"], 2), f"{row['kl']:.1e}"] if row else ["", "", ""]
            lines.append(line)
        table(("format", "text: logits off by", "same best", "KL, nats", "audio: logits off by", "same best", "KL, nats"),
              lines)


TABLES = (codec, lm, busy, streams, start, kernels, quality)


def main():
    names = sys.argv[3:] or [t.__name__ for t in TABLES]
    for name in names:
        for make in TABLES:
            if make.__name__ == name:
                print(f"### {name}\n", flush=True)
                make()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    BENCH, REPLAY = sys.argv[1:3]
    main()
