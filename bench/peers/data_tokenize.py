"""`data tokenize` beside a Python pipeline: jsonl to .bin/.idx with two workers, the same tokenizer, equal bytes.

  data_tokenize.py --corpus corpus.jsonl --tokenizer tokenizer.json --python PYTHON [--mb 32] [--large-mb 130] [--rounds 5]

A round runs both on the first --mb megabytes, each as its own processes, the order turning round in every second round;
then phalanx alone on --large-mb, where its start-up counts for little. The Python side is what a user would write:
json.loads and Hugging Face tokenizers in a pool of two processes, ids written in order. Both end every document with
<|endoftext|>; the .bin files must be equal. Peak memory of phalanx is measured with the corpus once and eight times over.
Reported: medians in MB/s of jsonl, and median, lowest and highest of the per-round ratios; the JSON line comes last.

PYTHON needs tokenizers 0.23 and numpy. Nothing else should be running.
"""
import argparse
import filecmp
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """
import json, sys
from multiprocessing import Pool
import numpy as np
source, model, output = sys.argv[1:4]

def start():
    global tokenizer, end
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(model)
    tokenizer.encode_special_tokens = True
    end = tokenizer.token_to_id("<|endoftext|>")

def encode(line):
    ids = tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
    return np.array([*ids, end], dtype=np.uint16).tobytes()

if __name__ == "__main__":
    with Pool(2, start) as pool, open(source, encoding="utf-8") as lines, open(output, "wb") as out:
        for packed in pool.imap(encode, lines, 64):
            out.write(packed)
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="jsonl with the field text")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json that has <|endoftext|>")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--mb", type=float, default=32)
    parser.add_argument("--large-mb", type=float, default=130)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def cut(corpus, mb, path):
    size = 0
    with open(corpus, "rb") as lines, open(path, "wb") as out:
        for line in lines:
            if size >= mb * 1e6:
                break
            out.write(line)
            size += len(line)
    return size / 1e6


def timed(command):
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false")
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return time.perf_counter() - before


def peak_mb(command):
    """Of the command alone, through a child that starts nothing else."""
    code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, capture_output=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)")
    return float(subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True).stdout)


def main():
    args = parse()
    rates = {"phalanx": [], "python": [], "phalanx_large": []}
    with tempfile.TemporaryDirectory() as folder:
        small, large, many = f"{folder}/small.jsonl", f"{folder}/large.jsonl", f"{folder}/many.jsonl"
        small_mb, large_mb = cut(args.corpus, args.mb, small), cut(args.corpus, args.large_mb, large)
        Path(f"{folder}/pipeline.py").write_text(PIPELINE)

        def ours(source, name):
            return [args.phalanx, "data", "tokenize", "--input", source, "--output-prefix", f"{folder}/{name}",
                    "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", args.tokenizer, "--append-eod",
                    "--workers", "2", "--json"]

        python = [args.python, f"{folder}/pipeline.py", small, args.tokenizer, f"{folder}/python.bin"]
        for number in range(args.rounds):
            steps = [("phalanx", ours(small, "small"), small_mb), ("python", python, small_mb),
                     ("phalanx_large", ours(large, "large"), large_mb)]
            for name, command, mb in (steps if number % 2 == 0 else reversed(steps)):
                rates[name].append(mb / timed(command))
            if not filecmp.cmp(f"{folder}/small_text_document.bin", f"{folder}/python.bin", shallow=False):
                sys.exit("the .bin files differ")
            print(f"round {number + 1}: " + ", ".join(f"{n} {r[-1]:.1f} MB/s" for n, r in rates.items()), flush=True)
        with open(many, "wb") as out:
            for _ in range(8):
                out.write(Path(large).read_bytes())
        memory = {"small": peak_mb(ours(small, "a")), "eight_times_large": peak_mb(ours(many, "b"))}
    ratios = [a / b for a, b in zip(rates["phalanx"], rates["python"])]
    summary = {name + "_mb_s": round(statistics.median(r), 2) for name, r in rates.items()}
    summary["ratio"] = [round(x, 1) for x in (statistics.median(ratios), min(ratios), max(ratios))]
    print(json.dumps({"mb": small_mb, "large_mb": large_mb, "rounds": args.rounds, "bytes_equal": True, **summary,
                      "peak_mb": {k: round(v) for k, v in memory.items()}}))


if __name__ == "__main__":
    main()
