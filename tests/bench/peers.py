#!/usr/bin/env python3
"""Runs moshi-bench and the peers in turn and prints how much faster we are. peers.sh is the way to start it.

A round runs ours and then each peer, pinned to the same cores; the ratio of a round is the peer's median frame to our own
of the same round, so that what happens to the machine from minute to minute happens to both.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median

ROWS = {"mimi-encode": "Mimi encodes", "mimi-decode": "Mimi decodes", "lm-step": "STT 1B, bf16, a step"}


# ----------------------------------------------------------------------------------- what runs in the peers' Python

def timed(frame, frames):
    """Median milliseconds of a frame."""
    times = []
    for _ in range(frames + 3):
        began = time.perf_counter()
        frame()
        times.append(1e3 * (time.perf_counter() - began))
    return median(times[3:])


def run_rustymimi(checkpoint, threads, frames):
    import numpy
    import rustymimi
    tokenizer = rustymimi.Tokenizer(f"{checkpoint}/mimi.safetensors", num_codebooks=8)
    sound = (numpy.random.RandomState(1).rand(1, 1, 1920).astype(numpy.float32) - 0.5) * 0.6
    codes = tokenizer.encode_step(sound)
    return {"mimi-encode": timed(lambda: tokenizer.encode_step(sound), frames),
            "mimi-decode": timed(lambda: tokenizer.decode_step(codes), frames)}


def run_torch_mimi(checkpoint, threads, frames):
    import torch
    from moshi.models import loaders
    torch.set_num_threads(threads)
    mimi = loaders.get_mimi(f"{checkpoint}/mimi.safetensors", num_codebooks=8)
    sound = (torch.rand(1, 1, 1920) - 0.5) * 0.6
    with torch.no_grad(), mimi.streaming(1):
        codes = mimi.encode(sound)
        return {"mimi-encode": timed(lambda: mimi.encode(sound), frames),
                "mimi-decode": timed(lambda: mimi.decode(codes), frames)}


def run_torch_lm(checkpoint, threads, frames):
    import torch
    from moshi.models import LMGen, loaders
    torch.set_num_threads(threads)
    info = loaders.CheckpointInfo.from_hf_repo(
        "local", moshi_weights=f"{checkpoint}/model.safetensors", mimi_weights="unused",
        tokenizer=f"{checkpoint}/tokenizer.model", config_path=f"{checkpoint}/config.json")
    generator = LMGen(info.get_moshi(device="cpu", dtype=torch.bfloat16), use_sampling=False)
    codes = torch.randint(0, 2048, (1, generator.lm_model.n_q - generator.lm_model.dep_q, 1))
    with torch.no_grad(), generator.streaming(1):
        return {"lm-step": timed(lambda: generator.step(codes), frames)}


PEERS = {"rustymimi": run_rustymimi, "PyTorch Mimi": run_torch_mimi, "PyTorch LM": run_torch_lm}


# ---------------------------------------------------------------------------------------------------- the session

def run(command, cores, environment=None):
    """The last lines of standard output that are JSON."""
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, **(environment or {})),
                          preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr.strip() or done.stdout).splitlines()[-1]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def ours(arguments, part, checkpoint, threads, cores):
    rows = run([arguments.bench, part, "--model", checkpoint, "--threads", str(threads), "--frames",
                str(arguments.frames), "--json"], cores)
    return {row["bench"]: row["ms_median"] for row in rows}


def peer(arguments, name, checkpoint, threads, cores):
    environment = {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads), "NO_TORCH_COMPILE": "1"}
    return run([arguments.python, os.path.abspath(__file__), "--peer", name, "--checkpoint", checkpoint,
                "--threads", str(threads), "--frames", str(arguments.frames)], cores, environment)[-1]


def cases(arguments):
    """Who runs beside us: (part of moshi-bench, checkpoint, threads, peers)."""
    cores = sorted(os.sched_getaffinity(0))
    for threads in (1, 2)[:len(cores)]:
        yield "mimi", arguments.mimi, threads, ("rustymimi", "PyTorch Mimi"), cores[:threads]
    threads = min(2, len(cores))
    yield "lm", arguments.lm, threads, ("PyTorch LM",), cores[:threads]


def session(arguments):
    """Samples (row, threads, peer, our ms, its ms), one for each round."""
    samples = []
    for part, checkpoint, threads, peers, cores in cases(arguments):
        if arguments.part not in (None, part):
            continue
        for round_number in range(arguments.rounds):
            for name in peers:
                print(f"{part}, {threads} threads, round {round_number + 1}: {name} …", file=sys.stderr, flush=True)
                own = ours(arguments, part, checkpoint, threads, cores)
                other = peer(arguments, name, checkpoint, threads, cores)
                samples += [(row, threads, name.split()[0], own[row], other[row]) for row in other]
    return samples


# ------------------------------------------------------------------------------------------------------- the table

def spread(values, digits):
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(samples):
    lines = ["| a frame | threads | here, ms | peer | its ms | times faster: median (least to most) |",
             "|---|---|---|---|---|---|"]
    for key in dict.fromkeys(sample[:3] for sample in samples):
        own, other = zip(*(sample[3:] for sample in samples if sample[:3] == key))
        row, threads, name = key
        ratios = [b / a for a, b in zip(own, other)]
        lines.append(f"| {ROWS[row]} | {threads} | {median(own):.1f} | {name} | {median(other):.1f} | "
                     f"{spread(ratios, 1)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--part", choices=("mimi", "lm"), help="only this (default: both)")
    parser.add_argument("--python", help="an interpreter that has the peers")
    parser.add_argument("--bench", help="moshi-bench")
    parser.add_argument("--mimi", help="folder of a codec's checkpoint")
    parser.add_argument("--lm", help="folder of a language model's")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(PEERS[arguments.peer](arguments.checkpoint, arguments.threads, arguments.frames)))
    else:
        print(table(session(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
