"""Single kernels on one thread as a table: medians over repetitions in random order, and shares of the product rate.

  ninja -C build kernels_bench && python3 bench/kernels.py [--repetitions 9] [--filter REGEX]

Nothing else should be running. Rates count CPU time, so that a neighbour costs little; which bytes and FLOP are counted stands in
phalanx/kernels/state_space_bench.cc.
"""
import argparse
import collections
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = "product/768/768/768"
UNITS = {"flops": ("GFLOP/s", 1e-9), "bytes": ("GB/s", 1e-9), "ns_per_item": ("ns a token, channel, state", 1)}


def measure(args):
    """Rates of each bench, a list of repetitions, and their unit."""
    command = [args.bench, f"--benchmark_repetitions={args.repetitions}", "--benchmark_enable_random_interleaving=true",
               "--benchmark_min_time=0.1", "--benchmark_format=json", f"--benchmark_filter={args.filter}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{args.bench}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    rates, units = collections.defaultdict(list), {}
    for row in json.loads(done.stdout)["benchmarks"]:
        for key, (unit, factor) in UNITS.items():
            if row["run_type"] == "iteration" and key in row:
                rates[row["name"]].append(row[key] * factor)
                units[row["name"]] = unit
    return rates, units


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=ROOT / "build" / "kernels_bench")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--filter", default=".")
    args = parser.parse_args()
    rates, units = measure(args)
    product = statistics.median(rates[PRODUCT]) if PRODUCT in rates else None
    print("| kernel | median | lowest to highest | unit | of the product rate |\n|---|---|---|---|---|")
    for name, values in sorted(rates.items()):
        median = statistics.median(values)
        share = f"{100 * median / product:.0f} %" if product and units[name] == "GFLOP/s" else ""
        print(f"| {name} | {median:.3g} | {min(values):.3g} to {max(values):.3g} | {units[name]} | {share} |")


if __name__ == "__main__":
    main()
