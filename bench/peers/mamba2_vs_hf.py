"""Mamba-2 training and decoding beside Hugging Face's CPU path, one thread.

  mamba2_vs_hf.py --peers ../shared/peers --python PYTHON [--rounds 3] [--steps 8]

Work: 12 layers, h 384, state 128, one group, 13.5 M parameters, s 512, micro-batch 2, fp32 (preset mamba2-small); decoding is
greedy, batch 1 and 8, after 128 tokens. A round runs both sides once, each alone in its own process, and turns round in every
second round; the matrix-product rate is measured between the steps on both sides. Reported: medians, and median, lowest and
highest of the per-round ratios; the JSON line comes last. PYTHON needs torch and transformers. Nothing else should run.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BARS = {"train": 2.5, "memory": 0.5, "decode_b1": 6.0, "decode_b8": 4.0}


def last_json(command):
    env = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(args):
    train = last_json([args.phalanx, "bench", "train", "--config", "mamba2-small", "--steps", str(args.steps), "--threads", "1",
                       "--json"])
    decode = last_json([args.phalanx, "bench", "decode", "--config", "mamba2-small", "--batch", "1,8", "--context", "128",
                        "--threads", "1", "--json"])
    rows = {row["batch"]: row["tokens_s"] for row in decode["rows"]}
    return {"train": train["tokens_s"], "memory": train["rss_mb"], "pct_of_gemm": train["pct_of_gemm"],
            "gemm": train["gemm_gflops"], "decode_b1": rows[1], "decode_b8": rows[8]}


def peer(args):
    got = last_json([args.python, str(args.peers / "mamba2_train.py"), "--layers", "12", "--threads", "1", "--steps", "4"])
    return {"train": got["train_tokens_s"], "memory": got["train_rss_mb"], "gemm": got["gemm_gflops"],
            "decode_b1": got["decode_tokens_s_b1"], "decode_b8": got["decode_tokens_s_b8"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    args = parser.parse_args()
    args.peers = args.peers.resolve()
    rounds = []
    for number in range(args.rounds):
        sides = [("phalanx", ours), ("peer", peer)]
        result = {name: side(args) for name, side in (sides if number % 2 == 0 else sides[::-1])}
        rounds.append(result)
        for name in ("phalanx", "peer"):
            print(f"round {number + 1} {name}: " + "  ".join(f"{key} {value:.1f}" for key, value in result[name].items()),
                  flush=True)
    summary = {}
    for key, bar in BARS.items():
        ratios = [r["phalanx"][key] / r["peer"][key] for r in rounds]
        summary[key] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios), "bar": bar}
        print(f"{key}: {summary[key]['median']:.2f} x ({min(ratios):.2f} to {max(ratios):.2f}), bar {bar}")
    print(json.dumps({"summary": summary, "pct_of_gemm": statistics.median(r["phalanx"]["pct_of_gemm"] for r in rounds)}))


if __name__ == "__main__":
    main()
