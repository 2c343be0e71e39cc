"""BPE training beside Hugging Face's: the same documents, the same vocabulary, interleaved rounds on one machine.

  bpe_train.py --corpus corpus.jsonl --python PYTHON [--mb 20] [--vocab-size 32000] [--threads 2] [--rounds 5]

A round trains once with each, each alone in its own process; the order turns round in every second round. Hugging
Face is timed from documents in memory to the end of train_from_iterator; phalanx (`data train-tokenizer`) from the
start of the verb to the files on disk, so that reading and parsing the jsonl and writing tokenizer.json count for it.
After each round the tokens and merges of both must be equal, or the script fails. Reported: medians, and median, lowest
and highest of the per-round ratios; the JSON line comes last.

PYTHON needs tokenizers 0.23. Nothing else should be running.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HUGGING_FACE = """
import json, sys, time
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
corpus, vocab_size, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
documents = [json.loads(line)["text"] for line in open(corpus, encoding="utf-8")]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=["<|endoftext|>"], show_progress=False,
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
start = time.perf_counter()
tokenizer.train_from_iterator(documents, trainer)
print(json.dumps({"seconds": time.perf_counter() - start}))
tokenizer.save(output)
"""


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="jsonl with the field text")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--mb", type=float, default=20)
    parser.add_argument("--vocab-size", type=int, default=32000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def cut(corpus, mb, path):
    """Writes the first documents that hold `mb` megabytes of text together, and says how many they hold."""
    size = 0
    with open(corpus, encoding="utf-8") as source, open(path, "w", encoding="utf-8") as out:
        for line in source:
            out.write(line)
            size += len(json.loads(line)["text"].encode())
            if size >= mb * 1e6:
                break
    return size


def run(command, env):
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def model(path):
    content = json.loads(Path(path).read_text(encoding="utf-8"))["model"]
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in content["merges"]]
    return content["vocab"], merges


def main():
    args = parse()
    env = dict(os.environ, TOKENIZERS_PARALLELISM="true", RAYON_NUM_THREADS=str(args.threads))
    seconds = {"hugging_face": [], "phalanx": []}
    with tempfile.TemporaryDirectory() as folder:
        corpus = f"{folder}/corpus.jsonl"
        size = cut(args.corpus, args.mb, corpus)
        commands = {
            "hugging_face": [args.python, "-c", HUGGING_FACE, corpus, str(args.vocab_size), f"{folder}/hf.json"],
            "phalanx": [args.phalanx, "data", "train-tokenizer", "--input", corpus, "--vocab-size", str(args.vocab_size),
                        "--workers", str(args.threads), "--output", f"{folder}/ours", "--json"],
        }
        for index in range(args.rounds):
            for name in list(commands) if index % 2 == 0 else reversed(commands):
                seconds[name].append(run(commands[name], env))
            print(f"round {index + 1}: " + ", ".join(f"{n} {s[-1]:.3f} s" for n, s in seconds.items())
                  + f", load {os.getloadavg()[0]:.1f}", file=sys.stderr)
            vocab, merges = model(f"{folder}/hf.json")
            our_vocab, our_merges = model(f"{folder}/ours/tokenizer.json")
            if merges != our_merges or vocab != our_vocab:
                first = next((i for i, (a, b) in enumerate(zip(merges, our_merges)) if a != b), "none: lengths or ids")
                sys.exit(f"the vocabularies differ, first at merge {first}")
    ratios = [h / o for h, o in zip(seconds["hugging_face"], seconds["phalanx"])]
    print(json.dumps({
        "script": "bpe_train", "mb": size / 1e6, "vocab_size": args.vocab_size, "threads": args.threads, "rounds": args.rounds,
        "merges": len(merges), "equal": True, "date": time.strftime("%Y-%m-%d"),
        **{f"{name}_s": statistics.median(values) for name, values in seconds.items()},
        "ratio": statistics.median(ratios), "ratio_lowest": min(ratios), "ratio_highest": max(ratios)}))


if __name__ == "__main__":
    main()
