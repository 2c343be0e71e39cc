"""Encoding speed beside tiktoken and Hugging Face tokenizers: one thread, the same merges, the same unseen text.

  tokenizer.py --corpus corpus.jsonl --tokenizer tokenizer.json --python PYTHON [--mb 50] [--rounds 5] [--hf-mb 5]

The last --mb megabytes of the corpus are encoded, text by text, once, by a fresh process a round: phalanx
(`bench tokenizer`), tiktoken's encode_ordinary, and Hugging Face's encode on the last --hf-mb of them, being the
slowest. The order turns round in every second round. phalanx is timed from opening tokenizer.json to the last id, with
an empty cache; the peers from the made encoder on, texts being in memory for all. The ids must be equal: number and
checksum of all ids (place x id, modulo 2^64). tokenizer.json must be a BPE with GPT-2's pattern; where it has no
<|endoftext|>, a copy that has one is used. Reported: medians of MB/s, and median, lowest and highest of the per-round
ratios; the JSON line comes last.

PYTHON needs tokenizers 0.23, tiktoken 0.14 and numpy. Nothing else should be running.
"""
import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = "{phalanx} bench tokenizer --tokenizer-type HuggingFaceTokenizer --tokenizer-model {model} --input {texts} --json"
PEER = r'''
import json, sys, time
import numpy as np
peer, model, path, mb = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
texts = [json.loads(line)["text"] for line in open(path, encoding="utf-8")]
size = sum(len(t.encode()) for t in texts)
while size > mb * 1e6 and len(texts) > 1:
    size -= len(texts.pop(0).encode())
if peer == "tiktoken":
    import tiktoken
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    byte_of = {**{chr(b): b for b in printable}, **{chr(256 + i): b for i, b in enumerate(rest)}}
    file = json.load(open(model, encoding="utf-8"))
    added = {t["content"] for t in file["added_tokens"]}
    ranks = {bytes(byte_of[c] for c in k): v for k, v in file["model"]["vocab"].items() if k not in added}
    pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    encode = tiktoken.Encoding("bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}).encode_ordinary
else:
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(model)
    tokenizer.encode_special_tokens = True
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
start = time.perf_counter()
ids = [encode(text) for text in texts]
seconds = time.perf_counter() - start
flat = np.fromiter((i for row in ids for i in row), dtype=np.uint64)
checksum = int((flat * np.arange(1, len(flat) + 1, dtype=np.uint64)).sum(dtype=np.uint64))
print(json.dumps({"mb_s": size / 1e6 / seconds, "bytes": size, "tokens": len(flat), "checksum": checksum}))
'''


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, help="jsonl with the field text")
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json with GPT-2's pattern")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--ours", default=OURS, help="the command; prints a JSON line with mb_s, bytes, tokens, checksum")
    parser.add_argument("--mb", type=float, default=50)
    parser.add_argument("--hf-mb", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def cut(corpus, mb, path):
    """Writes the last documents that hold `mb` megabytes of text together."""
    lines = Path(corpus).read_text(encoding="utf-8").splitlines(keepends=True)
    size = 0
    first = len(lines)
    while first > 0 and size < mb * 1e6:
        first -= 1
        size += len(json.loads(lines[first])["text"].encode())
    Path(path).write_text("".join(lines[first:]), encoding="utf-8")


def with_end_of_text(source, path):
    file = json.loads(Path(source).read_text(encoding="utf-8"))
    vocab, added = file["model"]["vocab"], file["added_tokens"]
    if "<|endoftext|>" not in vocab and all(t["content"] != "<|endoftext|>" for t in added):
        added.append({"id": max([*vocab.values(), *(t["id"] for t in added)]) + 1, "content": "<|endoftext|>",
                      "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True})
    Path(path).write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")


def run(command):
    env = dict(os.environ, TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(f"{shlex.join(command)[:200]}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    args = parse()
    rates = {"phalanx": [], "tiktoken": [], "hf": []}
    with tempfile.TemporaryDirectory() as folder:
        texts, model = f"{folder}/texts.jsonl", f"{folder}/tokenizer.json"
        cut(args.corpus, args.mb, texts)
        with_end_of_text(args.tokenizer, model)
        tail = f"{folder}/tail.jsonl"
        cut(texts, args.hf_mb, tail)
        command = lambda path: shlex.split(args.ours.format(phalanx=args.phalanx, model=model, texts=path))
        peer = lambda name, path: [args.python, "-c", PEER, name, model, path, "1e9"]
        runs = {"phalanx": command(texts), "tiktoken": peer("tiktoken", texts), "hf": peer("hf", tail)}
        for number in range(args.rounds):
            results = {}
            for name in (list(runs) if number % 2 == 0 else reversed(runs)):
                results[name] = run(runs[name])
                rates[name].append(results[name]["mb_s"])
            results["tail"] = run(command(tail))
            for left, right in (("phalanx", "tiktoken"), ("tail", "hf")):
                for key in ("bytes", "tokens", "checksum"):
                    if results[left][key] != results[right][key]:
                        sys.exit(f"{right} differs in {key}: {results[left][key]} and {results[right][key]}")
            print(f"round {number + 1}: " + ", ".join(f"{n} {r[-1]:.1f} MB/s" for n, r in rates.items()), flush=True)
    summary = {name + "_mb_s": round(statistics.median(r), 2) for name, r in rates.items()}
    for name in ("tiktoken", "hf"):
        ratios = [a / b for a, b in zip(rates["phalanx"], rates[name])]
        summary["ratio_" + name] = [round(x, 2) for x in (statistics.median(ratios), min(ratios), max(ratios))]
    print(json.dumps({"mb": args.mb, "rounds": args.rounds, "ids_equal": True, **summary}))


if __name__ == "__main__":
    main()
