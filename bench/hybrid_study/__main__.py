"""Transformer, Mamba-1, Mamba-2 and a hybrid of equal size on equal data.

  make study     or     python3 bench/hybrid_study [--folder runs/study] [--report FILE.md] [--quick]

Trains each of the four on text; and on recall tasks, from lines to copy to phonebooks, which are judged; goes on with
these at four times the length and judges again; measures decoding. What is finished is kept, so a study that was stopped
goes on with the run that it was at. --quick is for a look at the machinery: a few steps, and a report that says nothing about models.
"""
import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import models
import report

ROOT = Path(__file__).resolve().parents[2]
BOOKS = {8: 200, 16: 200, 32: 400, 64: 100, 128: 50, 256: 20}  # entries: books that are judged
JUDGED = ["books", "long"]
WORDINGS = ["phonebook", "phonebook_reversed"]
CONTEXTS = [128, 1024, 4096, 16384, 65536]


class Study:
    def __init__(self, args):
        self.phalanx = str(Path(args.phalanx).resolve())
        self.folder = Path(args.folder)
        self.quick = args.quick
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, *words):
        done = subprocess.run([self.phalanx, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"phalanx {' '.join(map(str, words))}: exit code {done.returncode}")
        return done.stdout

    def kept(self, name, make):
        """The result of an earlier call, or of this one."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            before = time.time()
            result = make()
            result["minutes"] = (time.time() - before) / 60
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result) + "\n")
        return json.loads(path.read_text())

    def prepare(self):
        """One tokenizer for text and tasks. Three digits and most names of the books are a token each, as in large vocabularies."""
        if (self.folder / "text_text_document.idx").exists():
            return
        limit = 1_000_000 if self.quick else 12_000_000
        files = subprocess.run([ROOT / "tools" / "collect_text", str(limit)], capture_output=True, text=True, check=True)
        (self.folder / "files.txt").write_text(files.stdout)
        texts = []
        for task in models.BOOKS:
            name, size, *_ = task.split()
            key, value = size.split("=")
            file = self.folder / f"tokenizer_{name}.jsonl"
            self.run("data", "tasks", "--task", name, f"--{key}", value, "--count", 600, "--part", "train", "--output", file)
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            texts += [f"{row['prompt']} {row['answer']}\n" for row in rows]
            file.unlink()
        (self.folder / "tasks.txt").write_text("".join(texts))
        tokenizer = self.folder / "tokenizer"
        self.run("data", "train-tokenizer", "--input", self.folder / "tasks.txt", "--files-from", self.folder / "files.txt",
                 "--input-format", "text", "--pattern", "gpt2", "--vocab-size", models.VOCABULARY, "--output", tokenizer)
        self.run("data", "tokenize", "--files-from", self.folder / "files.txt", "--input-format", "text", "--output-prefix",
                 self.folder / "text", "--tokenizer-type", "HuggingFaceTokenizer", "--tokenizer-model", tokenizer,
                 "--append-eod")

    def train(self, model, run):
        settings = models.RUNS[run]
        if self.quick:
            settings = dataclasses.replace(settings, steps=10)
        path = self.folder / model / f"{run}.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = models.config(model, run, settings, self.folder, ranks=2)
        if path.exists() and path.read_text() != text:
            sys.exit(f"study: {path}: got a run with other settings; needed those of this study. Fix: rm -r {self.folder}")
        path.write_text(text)
        print(f"\n== {model}, {run}: {settings.steps} steps", file=sys.stderr)
        return self.kept(f"{model}/{run}", lambda: json.loads(self.run("train", path, "--json")))

    def judge(self, model, run, wording):
        """Books that no training saw, of each size."""
        def ask():
            rows = []
            for entries, count in (BOOKS if not self.quick else {8: 2, 16: 2}).items():
                result = self.run("eval", "recall", "--model", self.folder / model / run, "--task", wording, "--entries",
                                  entries, "--count", count, "--json")
                rows += json.loads(result)["rows"]
                print(f"   {model}, {run}, {wording} of {entries}: {100 * rows[-1]['exact_share']:.1f} %", file=sys.stderr)
            return {"rows": rows}
        return self.kept(f"{model}/{run}_{wording}", ask)

    def decode(self, model):
        steps = ["--steps", 4, "--rounds", 1] if self.quick else ["--steps", 64, "--rounds", 3]
        contexts = CONTEXTS[:2] if self.quick else CONTEXTS
        return self.kept(f"{model}/decode", lambda: json.loads(self.run(
            "bench", "decode", "--config", self.folder / model / "books.toml", "--context", ",".join(map(str, contexts)),
            *steps, "--json")))

    def all(self):
        self.prepare()
        results = {}
        for model in models.MODELS:
            own = results[model] = {}
            for run in models.RUNS:
                own[run] = self.train(model, run)
                if run in JUDGED:
                    own |= {f"{run}_{wording}": self.judge(model, run, wording) for wording in WORDINGS}
        for model, own in results.items():  # apart from all training, so that nothing heats or fills the machine
            own["decode"] = self.decode(model)
        return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phalanx", default=str(ROOT / "build" / "phalanx"))
    parser.add_argument("--folder", default="runs/study")
    parser.add_argument("--report", help="the report; its pictures lie beside it (FOLDER/report.md)")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    study = Study(args)
    results = study.all()
    path = Path(args.report or f"{args.folder}/report.md")
    report.write(path, study, results)
    print(path)


if __name__ == "__main__":
    main()
