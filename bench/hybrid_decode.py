"""A hybrid against a transformer of equal size in generation, beside what the planner says.

  hybrid_decode.py [--rounds 3] [--context 4096,32768] [MODEL.toml BASELINE.toml]

One sequence, one thread, fp32, keys and values of so many tokens before it; interleaved rounds that turn round, each the
median of the bench's own. The prediction is `phalanx plan --decode` on a cluster file that `phalanx bench machine`
wrote just before. Nothing else should be running.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def step_ms(args, model):
    rows = json.loads(run(args.phalanx, "bench", "decode", "--config", model, "--context", args.context, "--steps", 32,
                          "--json"))["rows"]
    return {row["context"]: row["step_ms"] for row in rows}


def predicted(args):
    with tempfile.TemporaryDirectory() as folder:
        cluster = Path(folder) / "here.toml"
        run(args.phalanx, "bench", "machine", "--out", cluster)
        print(cluster.read_text(), file=sys.stderr)
        plan = run(args.phalanx, "plan", "--decode", f"{args.model},{args.baseline}", "--decode-dtype", "fp32", "--cluster",
                   cluster, "--json")
    return {row["context"]: row["baseline_s"] / row["model_s"] for row in json.loads(plan)["rows"] if row["batch"] == 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=ROOT / "recipes" / "hybrid_55m.toml")
    parser.add_argument("baseline", nargs="?", default=ROOT / "recipes" / "transformer_55m.toml")
    parser.add_argument("--phalanx", default=ROOT / "build" / "phalanx")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--context", default="4096,32768")
    args = parser.parse_args()
    plan = predicted(args)
    rounds = []
    for number in range(args.rounds):
        order = ["model", "baseline"] if number % 2 == 0 else ["baseline", "model"]
        times = {name: step_ms(args, getattr(args, name)) for name in order}
        rounds.append(times)
        print(json.dumps(times), file=sys.stderr)
    for context in map(int, args.context.split(",")):
        ratios = [times["baseline"][context] / times["model"][context] for times in rounds]
        model, baseline = (statistics.median(times[name][context] for times in rounds) for name in ["model", "baseline"])
        ratio = statistics.median(ratios)
        print(json.dumps({"context": context, "model_ms": model, "baseline_ms": baseline, "ratio": ratio,
                          "min": min(ratios), "max": max(ratios), "plan": plan.get(context),
                          "measured_over_plan": ratio / plan[context] if context in plan else None}))


if __name__ == "__main__":
    main()
