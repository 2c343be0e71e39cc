"""What recomputation costs on this machine, beside what the planner says.

  recompute_overhead.py [--rounds 3] [--steps 6] [--warmup 2]

Trains `small` (micro-batch 8, one thread, fp32) without recomputation, with selective and with full recomputation, in
interleaved rounds that turn round; overhead = tokens/s without / tokens/s with - 1, by round. The prediction is
`phalanx plan` on a cluster file that `phalanx bench machine` wrote just before. Nothing else should be running.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODES = ["none", "selective", "full"]


def run(command, cwd):
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def speed(args, mode, folder):
    name = f"run_{mode}"
    run([args.phalanx, "train", "--preset", "small", "--mock-data", "--run-dir", name, "--runtime.threads=1",
         "--train.micro_batch_size=8", f"--train.train_iters={args.warmup + args.steps}", f"--train.recompute={mode}"], folder)
    path = Path(folder) / name / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    run(["rm", "-r", name], folder)
    return statistics.median(r["tokens_per_s"] for r in records[args.warmup:])


def predicted(args, folder):
    run([args.phalanx, "bench", "machine", "--out", "here.toml"], folder)
    seconds = {}
    for mode in MODES:
        plan = run([args.phalanx, "plan", "--preset", "small", "--cluster", "here.toml", "--micro-batch-size", "8",
                    "--global-batch-size", "8", f"--train.recompute={mode}", "--reserve", "0", "--json"], folder)
        seconds[mode] = json.loads(plan)["time"]["seconds"]
    return {mode: seconds[mode] / seconds["none"] - 1 for mode in MODES[1:]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=2)
    args = parser.parse_args()
    args.phalanx = str(Path(args.phalanx).resolve())
    overheads = {mode: [] for mode in MODES[1:]}
    with tempfile.TemporaryDirectory() as folder:
        plan = predicted(args, folder)
        for number in range(args.rounds):
            rates = {mode: speed(args, mode, folder) for mode in (MODES if number % 2 == 0 else reversed(MODES))}
            for mode, values in overheads.items():
                values.append(rates["none"] / rates[mode] - 1)
            print("  ".join(f"{mode} {rates[mode]:.0f} tokens/s" for mode in MODES), file=sys.stderr)
    print(json.dumps({mode: {"median": statistics.median(v), "min": min(v), "max": max(v), "plan": plan[mode]}
                      for mode, v in overheads.items()}))


if __name__ == "__main__":
    main()
