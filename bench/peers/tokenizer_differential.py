"""Ids beside Hugging Face tokenizers and tiktoken: at least 20 000 odd strings for each pattern, every one compared.

  tokenizer_differential.py --tokenizer tokenizer.json --python PYTHON [--count 20000] [--seed 1]

The strings: whitespace soups, contractions, accents, combining marks, emoji, CJK, digits of several scripts, invalid
UTF-8, long runs, and mixtures. They go through `phalanx data tokenize` as jsonl; the peers read what bytes.decode with
errors="replace" makes of them. tokenizer.json gives vocabulary and merges (a byte-level BPE with <|endoftext|>); its
pattern is replaced by GPT-2's, Llama 3's and Qwen2's, each for both peers (cl100k and o200k: tokenizer_test's fixtures).
Prints the number of comparisons and of differences; exit code 1 when there is any.

PYTHON needs tokenizers 0.23, tiktoken 0.14 and numpy.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEER = r'''
import json, random, struct, subprocess, sys
import numpy as np
import tiktoken
from tokenizers import Tokenizer
model, phalanx, folder, count, seed = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
random.seed(seed)
spaces = [" ", " ", "\n", "\t", "\r", "\r\n", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u3000", "\u200b",
          "\ufeff", "\x1c", "\u180e"]
short = ["'s", "'T", "'re", "'VE", "'m", "'ll", "'d", "\u2019s", "'", "''", "'\u017f", "I'm", "we'LL", "don't"]
words = ["the", "Hello", "camelCase", "HTTPServer", "snake_case", "12", "1234567", "3.14", "\u00bd", "\u2167", "\u0663\u0664",
         "\u00e9", "e\u0301", "n\u0303", "\u00df", "\ud55c\uad6d\uc5b4", "\u1112\u1161", "\u65e5\u672c\u8a9e", "\u0e04\u0e33", "\u0939\u093f",
         "\u0627\u0644", "\u041f\u0440\u0438", "\U0001f642", "\U0001f468\u200d\U0001f469", "\U0001f44d\U0001f3fd", "\u2211", "--", "//", "{}", "<|endoftext|>",
         "=" * 9, "#include", "\\n", "\u01c5", "\u02b0", "\u0e46"]
bad = [b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\x80", b"\x80"]

def one(number):
    kind = number % 8
    if kind == 0:
        return "".join(random.choices(spaces, k=random.randint(1, 12))).encode()
    if kind == 1:
        return "".join(random.choice(words + short) for _ in range(random.randint(1, 8))).encode()
    if kind == 2:
        return "".join(random.choice(words) + random.choice(spaces) * random.randint(0, 3) for _ in range(6)).encode()
    if kind == 3:
        return "".join(chr(random.choice([random.randint(1, 0x2fff), random.randint(0x3000, 0xd7ff),
                                          random.randint(0xe000, 0x10ffff)])) for _ in range(random.randint(1, 20))).encode()
    if kind == 4:
        return b"".join(random.choice([w.encode() for w in words] + bad) for _ in range(random.randint(1, 10)))
    if kind == 5:
        return (random.choice(["a", "ab", " ", "\n", "0", "\u65e5", "e\u0301", "-"]) * random.randint(1, 400)).encode()
    if kind == 6:
        return "".join(random.choice(short + spaces + words) for _ in range(random.randint(2, 30))).encode()
    return bytes(random.randint(1, 255) for _ in range(random.randint(1, 40)))

raw = list({one(i): None for i in range(2 * count)})[:count]
texts = [r.decode("utf-8", errors="replace") for r in raw]

def escape(r):  # JSON with the bytes as they are
    return b'{"text":"' + b"".join({34: b'\\"', 92: b"\\\\"}.get(b, bytes([b]) if b >= 32 else b"\\u%04x" % b) for b in r) + b'"}\n'

with open(folder + "/strings.jsonl", "wb") as out:
    for r in raw:
        out.write(escape(r))
base = json.load(open(model, encoding="utf-8"))
special = {t["content"] for t in base["added_tokens"]}
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
byte_of = {chr(b): b for b in printable}
byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
ranks = {bytes(byte_of[c] for c in k): v for k, v in base["model"]["vocab"].items() if k not in special}
tail = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
llama = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + tail
patterns = {"gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            "llama3": llama % "{1,3}", "qwen2": llama % ""}
compared = different = 0

def ours(pattern):
    file = json.loads(json.dumps(base))
    file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    path = folder + "/tokenizer.json"
    json.dump(file, open(path, "w", encoding="utf-8"))
    subprocess.run([phalanx, "data", "tokenize", "--input", folder + "/strings.jsonl", "--output-prefix", folder + "/out",
                    "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", path, "--json"], check=True,
                   capture_output=True)
    index = open(folder + "/out_text_document.idx", "rb").read()
    n = struct.unpack_from("<Q", index, 18)[0]
    lengths = np.frombuffer(index, np.int32, n, 34)
    ids = np.fromfile(folder + "/out_text_document.bin", np.uint16)
    assert n == len(texts), (n, len(texts))
    return path, np.split(ids, np.cumsum(lengths)[:-1])

for name, pattern in patterns.items():
    path, got = ours(pattern)
    hf = Tokenizer.from_file(path)
    hf.encode_special_tokens = True
    tik = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    for peer, encode in (("hf", lambda t: hf.encode(t, add_special_tokens=False).ids), ("tiktoken", tik.encode_ordinary)):
        for text, ids in zip(texts, got):
            compared += 1
            if list(ids) != encode(text):
                different += 1
                if different <= 5:
                    print(f"{name} {peer}: {text!r}: {list(ids)} and {encode(text)}", file=sys.stderr)
print(json.dumps({"strings": len(texts), "patterns": list(patterns), "compared": compared, "different": different}))
sys.exit(different != 0)
'''


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(subprocess.run([args.python, "-c", PEER, args.tokenizer, args.phalanx, folder, str(args.count),
                                 str(args.seed)]).returncode)


if __name__ == "__main__":
    main()
