"""Sample index and shuffle beside Megatron's C++ helper and numpy's RandomState: the same documents, equal results.

  order.py --python PYTHON [--samples 10e6] [--seq-length 1024] [--documents 1e6] [--rounds 5]

A round runs the peers in one process and phalanx (`bench order`) with one and with two threads in two, the order
turning round in every second round. The peers: RandomState.shuffle of the documents of all epochs, helpers_cpp of the
megatron-core wheel for the sample index, RandomState.permutation of the samples. Checksums of both results must agree.
Reported: medians in seconds, and median, lowest and highest of the per-round ratios; the JSON line comes last.

PYTHON needs numpy and megatron-core. Nothing else should be running.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = """
import json, sys, time
import numpy as np
from megatron.core.datasets import helpers_cpp
sizes, samples, seq = np.fromfile(sys.argv[1], np.int32), int(sys.argv[2]), int(sys.argv[3])
total = int(sizes.sum(dtype=np.int64))
epochs = -(-samples * seq // total)
documents = np.tile(np.arange(len(sizes), dtype=np.int32), epochs)
random = np.random.RandomState(1)
t = time.perf_counter()
random.shuffle(documents)
shuffle_documents = time.perf_counter() - t
t = time.perf_counter()
index = helpers_cpp.build_sample_idx_int32(sizes, documents, seq, epochs, total, True, 1)
sample_index = time.perf_counter() - t
count = len(index) - 1
order = np.arange(count, dtype=np.uint32)
t = time.perf_counter()
random.shuffle(order)
shuffle_samples = time.perf_counter() - t
place = np.arange(1, len(index) + 1, dtype=np.uint64)
wide = index.astype(np.uint64)
checksum = int((place * (wide[:, 0] * np.uint64(4096) + wide[:, 1])).sum(dtype=np.uint64))
order_checksum = int((place[:count] * order).sum(dtype=np.uint64))
print(json.dumps({"samples": count, "shuffle_documents_s": shuffle_documents, "sample_index_s": sample_index,
                  "shuffle_samples_s": shuffle_samples, "index_checksum": checksum, "order_checksum": order_checksum}))
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--samples", type=float, default=10e6)
    parser.add_argument("--seq-length", type=int, default=1024)
    parser.add_argument("--documents", type=float, default=1e6)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    args = parse()
    keys = ("sample_index_s", "shuffle_samples_s", "shuffle_documents_s")
    times = {name: {key: [] for key in keys} for name in ("peer", "one", "two")}
    with tempfile.TemporaryDirectory() as folder:
        lengths = f"{folder}/lengths.i32"
        make = ("import numpy, sys; numpy.random.default_rng(0).integers(16, 2048, int(float(sys.argv[2])), "
                "dtype=numpy.int32).tofile(sys.argv[1])")
        subprocess.run([args.python, "-c", make, lengths, str(args.documents)], check=True)
        samples, seq = str(int(args.samples)), str(args.seq_length)
        ours = lambda threads: [args.phalanx, "bench", "order", "--lengths", lengths, "--samples", samples, "--seq-length",
                                seq, "--threads", threads, "--json"]
        runs = {"peer": [args.python, "-c", PEER, lengths, samples, seq], "one": ours("1"), "two": ours("2")}
        for number in range(args.rounds):
            results = {}
            for name in (list(runs) if number % 2 == 0 else reversed(runs)):
                results[name] = run(runs[name])
                for key in keys:
                    times[name][key].append(results[name][key])
            for name in ("one", "two"):
                for key in ("samples", "index_checksum", "order_checksum"):
                    if results[name][key] != results["peer"][key]:
                        sys.exit(f"{key} differs: {results[name][key]} and {results['peer'][key]}")
            print(f"round {number + 1}: " + ", ".join(
                f"{key} {results['peer'][key]:.3f} / {results['one'][key]:.3f} / {results['two'][key]:.3f}"
                for key in keys), flush=True)
    summary = {"samples": results["peer"]["samples"], "rounds": args.rounds, "results_equal": True}
    for key in keys:
        summary[key] = {name: round(statistics.median(times[name][key]), 4) for name in times}
        for name in ("one", "two"):
            ratios = [a / b for a, b in zip(times["peer"][key], times[name][key])]
            summary[key]["ratio_" + name] = [round(x, 2) for x in (statistics.median(ratios), min(ratios), max(ratios))]
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
