"""Training under data, tensor and pipeline parallelism beside PyTorch DDP and Megatron-LM, two ranks of one thread each.

  layouts_vs_peers.py --peers ../shared/peers --python PYTHON [--rounds 5] [--steps 8] [--only dp2,tp2,pp2]

  dp2  phalanx, 2 rank threads     beside gpt_train.py --dp 2 (DistributedDataParallel over Gloo)
  tp2  phalanx, 2 rank threads     beside megatron_gpt.py --tp 2
  pp2  phalanx, 4 micro-batches    beside megatron_gpt.py --pp 2 --microbatches 4
All of `small` (6 layers, h 384, s 256, micro-batch 8, fp32). A round runs both sides once, each alone in its own process;
the order turns round in every second round. Ours is the median of metrics.jsonl's tokens_per_s after the warm-up steps, the
peers print theirs. Before every run a fresh process measures the matrix-product rate. Reported: medians, and median, lowest
and highest of the per-round ratios; the JSON line comes last. PYTHON needs torch and megatron-core. Nothing else should run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL_SAMPLES = 8
GEMM = ("import sys; sys.path.insert(0, sys.argv[1]); import torch; from common import gemm_gflops; "
        "torch.set_num_threads(1); print(gemm_gflops(reps=20))")
CASES = {
    "dp2": {"ours": ["--parallel.data=2"], "batch": 2, "peer": ["gpt_train.py", "--dp", "2", "--threads", "1"], "bar": 1.10},
    "tp2": {"ours": ["--parallel.tensor=2"], "batch": 1, "peer": ["megatron_gpt.py", "--tp", "2"], "bar": 1.10},
    "pp2": {"ours": ["--parallel.pipeline=2"], "batch": 4, "peer": ["megatron_gpt.py", "--pp", "2", "--microbatches", "4"],
            "bar": 1.15},
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--only", default=",".join(CASES))
    args = parser.parse_args()
    args.peers = args.peers.resolve()
    return args


def run(command):
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def ours(args, case):
    with tempfile.TemporaryDirectory() as folder:
        run([args.phalanx, "train", "--preset", "small", "--mock-data", "--run-dir", folder, "--runtime.threads=1",
             f"--train.train_iters={args.warmup + args.steps}", f"--train.micro_batch_size={SMALL_SAMPLES}",
             f"--train.global_batch_size={SMALL_SAMPLES * case['batch']}", *case["ours"]])
        records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    steady = records[args.warmup:]
    return {"tokens_s": statistics.median(r["tokens_per_s"] for r in steady),
            "exposed": statistics.median(r["exposed_comm_s"] / r["seconds"] for r in steady)}


def peer(args, case):
    name, *rest = case["peer"]
    text = run([args.python, "-W", "ignore", str(args.peers / name), "--config", "small", "--steps", str(args.steps),
                "--warmup", str(args.warmup), *rest])
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main():
    args = parse()
    summary = {}
    for name in args.only.split(","):
        case, rounds, gemm = CASES[name], [], []
        for number in range(args.rounds):
            got = {}
            for side in (("ours", "peer") if number % 2 == 0 else ("peer", "ours")):
                gemm.append(float(run([args.python, "-c", GEMM, str(args.peers)])))
                got[side] = ours(args, case) if side == "ours" else peer(args, case)
            rounds.append(got)
            print(f"{name} round {number + 1}: phalanx {got['ours']['tokens_s']:.0f} tokens/s (waits {got['ours']['exposed']:.1%}), "
                  f"peer {got['peer']['tokens_s']:.0f}, ratio {got['ours']['tokens_s'] / got['peer']['tokens_s']:.3f}, "
                  f"{gemm[-1]:.0f} GFLOP/s before", file=sys.stderr)
        ratio = spread([r["ours"]["tokens_s"] / r["peer"]["tokens_s"] for r in rounds])
        summary[name] = {"ratio": ratio, "bar": case["bar"], "phalanx": spread([r["ours"]["tokens_s"] for r in rounds]),
                         "peer": spread([r["peer"]["tokens_s"] for r in rounds]), "gemm": spread(gemm),
                         "exposed": spread([r["ours"]["exposed"] for r in rounds])}
        print(f"{name}: {ratio['median']:.3f} x ({ratio['min']:.3f} to {ratio['max']:.3f}), bar {case['bar']}", file=sys.stderr)
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
