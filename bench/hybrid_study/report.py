"""The report of the study: tables in Markdown, and pictures by `phalanx plot`."""
import datetime
import json
import platform
import subprocess
from pathlib import Path

import models

LIMITS = """## What this scale cannot show

- A million weights learn to look things up and little else: the paper's other tasks, where its hybrid gains and its pure
  Mamba falls behind, need models that know something.
- The paper's models are asked for phone numbers after training on text alone. These were trained on phonebooks, in steps
  from short to long, so a score says what an architecture can keep and find, not what language teaches it to.
- One seed, and one learning rate for all four: differences of a few per cent between loss curves mean nothing.
- The state of the Mamba models is {state:.0f} KB here and 98 MiB in the paper's 8B hybrid (`phalanx plan --decode`), so
  from how many entries on a pure state-space model forgets does not carry over. Nor does it that they learned
  next to nothing here: they may need longer than these few minutes.
- Three of the hybrid's seven layers attend, where 8 % of the paper's do.
- Rotary positions are not rescaled for four times the length; the paper's hybrid has no positions at all.
- A step of a model this small takes as long as its calls, not as its memory; bench/reports/hybrid-decode_*.md has larger ones.
"""


def machine():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


class Pictures:
    def __init__(self, study, path):
        self.study, self.path = study, path

    def draw(self, name, curves, x, y, *options):
        """`curves`: name to records or to a run folder. Returns the Markdown of the picture."""
        words = []
        for label, curve in curves.items():
            if isinstance(curve, list):
                file = self.study.folder / "curves" / f"{name}_{label}.jsonl"
                file.parent.mkdir(exist_ok=True)
                file.write_text("".join(json.dumps(record) + "\n" for record in curve))
                curve = file
            words.append(f"{label}={curve}")
        svg = self.path.with_name(f"{self.path.stem}_{name}.svg")
        self.study.run("plot", *words, "--x", x, "--y", y, "--output", svg, *options)
        return f"![{name}]({svg.name})"


def share(row):
    return (f"{100 * row['exact_share']:.1f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f}); "
            f"{100 * row['overlap']:.0f} %")


def books(results, run, wording):
    sizes = [row["max_entries"] for row in next(iter(results.values()))[f"{run}_{wording}"]["rows"]]
    return table(["", *[f"{size} entries" for size in sizes]],
                 [[model, *[share(row) for row in own[f"{run}_{wording}"]["rows"]]] for model, own in results.items()])


def trained(results):
    rows = []
    for model, own in results.items():
        pattern, ffn = models.MODELS[model]
        recall = sum(own[run]["minutes"] for run in ["copy", "lookup", "books"])
        rows.append([model, f"`{pattern}`", ffn if "-" in pattern else "", f"{own['decode']['params']:,}",
                     f"{own['text']['valid_loss']:.3f}", f"{own['text']['valid_bpb']:.3f}",
                     f"{own['text_long']['valid_loss']:.3f}",
                     *[f"{own[run]['valid_loss']:.3f}" for run in ["copy", "lookup", "books", "long"]],
                     f"{own['text']['minutes']:.1f} + {recall:.1f} + {own['long']['minutes'] + own['text_long']['minutes']:.1f}"])
    return table(["", "pattern", "MLP", "weights", "text, nats a token", "bits a byte", "text_long", "copy", "lookup", "books",
                  "long", "minutes: text + recall + four times the length"], rows)


def decoding(results):
    contexts = [row["context"] for row in next(iter(results.values()))["decode"]["rows"]]
    return table(["", *[f"at {context:,}" for context in contexts]],
                 [[model, *[f"{row['step_ms']:.2f} ms, {row['cache_mb']:.1f} MB" for row in own["decode"]["rows"]]]
                  for model, own in results.items()])


def section(pictures, results, run, wording, title):
    curves = {model: [dict(row, percent=100 * row["exact_share"]) for row in own[f"{run}_{wording}"]["rows"]]
              for model, own in results.items()}
    picture = pictures.draw(f"{run}_{wording}", curves, "max_entries", "percent", "--log-x", "--title", title, "--x-label",
                            "entries of the book", "--y-label", "exact answers, %")
    return f"### {title}\n\n{books(results, run, wording)}\n\n{picture}\n"


def write(path, study, results):
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = Pictures(study, path)
    runs = {run: {model: study.folder / model / run for model in results} for run in models.RUNS}
    state = 1024 * results["mamba2"]["decode"]["rows"][0]["cache_mb"]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    minutes = sum(own[run]["minutes"] for own in results.values() for run in own)
    stages = table(["run", "samples x tokens a step", "steps", "learning rate", "takes over", "data"],
                   [[name, f"{run.batch} x {run.tokens}", run.steps, f"{run.rate:g}, {run.decay}", run.after,
                     "<br>".join(f"`{task}`" for task in run.tasks) or "text"] for name, run in models.RUNS.items()])
    text = f"""# Transformer, Mamba-1, Mamba-2 and a hybrid at equal size and data

Machine: {machine()}, two data-parallel ranks of one thread. {datetime.date.today()}, commit {commit}. {minutes:.0f} minutes in all.

    make study

Source of the questions: Waleffe et al. 2024 (arXiv 2406.07887), sections 3.3.3 and 4. All four models see the same samples
in the same order, on text and on recall tasks apart: no run mixes them.

{stages}

Losses are those of the validation part at the end; of the tasks, nats for each token of an answer.

{trained(results)}

{pictures.draw('text', runs['text'], 'step', 'valid_loss', '--title', 'Text, validation loss', '--y-label', 'nats per token')}
{pictures.draw('books', runs['books'], 'step', 'loss', '--smoothing', '0.9', '--title', 'Recall tasks, training loss', '--y-label', 'nats per token of answers')}

## Phonebook

Trained on 8 to 32 entries, judged on books of the test part: greedy generation, exact matches with their 95 % Wilson
interval; then the share of the ten digits that are right at their place (10 % by chance).

{section(pictures, results, 'books', 'phonebook', 'Standard: the name is asked after the book')}
{section(pictures, results, 'books', 'phonebook_reversed', 'Reversed: the name is told before the book')}

## Going on at four times the length

Text in samples of {models.RUNS['text_long'].tokens} tokens (`text_long` above); recall tasks in samples of
{models.RUNS['long'].tokens}, with books of up to 128 entries among the others.

{section(pictures, results, 'long', 'phonebook', 'Standard, after longer books')}
{section(pictures, results, 'long', 'phonebook_reversed', 'Reversed, after longer books')}

## Decoding

One sequence, one thread, fp32; the cache is keys and values, and states.

{decoding(results)}

{pictures.draw('decode', {m: own['decode']['rows'] for m, own in results.items()}, 'context', 'step_ms', '--log-x', '--log-y', '--title', 'Time of a step', '--x-label', 'tokens before it', '--y-label', 'ms')}
{pictures.draw('memory', {m: own['decode']['rows'] for m, own in results.items()}, 'context', 'cache_mb', '--log-x', '--log-y', '--title', 'Memory of a sequence', '--x-label', 'tokens', '--y-label', 'MB')}

{LIMITS.format(state=state)}"""
    path.write_text(text)
