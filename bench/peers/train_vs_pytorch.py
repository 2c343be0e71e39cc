"""Training speed and memory of phalanx beside PyTorch, in interleaved rounds on one machine.

  train_vs_pytorch.py --peers ../shared/peers --python PYTHON --config small --rounds 5 [--modes eager,hf,compile]

A round runs phalanx and every peer mode once, each alone in its own process; the order turns round in every second
round. Each side prints a JSON line (tokens_s: median of the steady steps; gemm_gflops: matrix-product rate measured
between the steps; rss_mb: getrusage's peak of the process when it has trained). Memory is compared by rss_mb; the
peak the operating system states after the exit stands beside it and is not compared, because a torch wheel with CUDA
libraries touches another 120 MB while it unloads. Before every run a fresh process measures the matrix-product rate of
the machine (1024^3, fp32), which shows whether it kept its pace.
Reported: medians over the rounds, and median, lowest and highest of the per-round ratios phalanx / peer. A ratio of
speeds above 1 and a ratio of memory below 1 favour phalanx. Writes a Markdown report and prints the JSON line last.

PYTHON needs torch, and transformers for the mode hf. Nothing else should be running.
"""
import argparse
import datetime
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = "build/phalanx bench train --config {config} --steps {steps} --threads {threads} --json"
STEPS = {"tiny": 30, "small": 10, "base": 4, "gpt2": 4}
WARMUP = {"tiny": 5, "small": 3, "base": 1, "gpt2": 1}
NEEDED = ("tokens_s", "tokens_s_best", "step_ms", "gemm_gflops", "pct_of_gemm", "rss_mb", "loss")
GEMM = ("import sys; sys.path.insert(0, sys.argv[1]); import torch; from common import gemm_gflops, rss_mb; "
        "idle = rss_mb(); torch.set_num_threads(int(sys.argv[2])); "
        "print(gemm_gflops(reps=20), idle, torch.__version__)")


class Failure(Exception):
    pass


def run(command, threads):
    """Runs one command alone in the repository root; returns its standard output and peak memory in MB."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), PYTHONDONTWRITEBYTECODE="1")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        try:
            child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT, env=env)
        except OSError as error:
            raise Failure(f"{shlex.join(command)}: {error.strerror}; build it or name another command") from error
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
        out.seek(0)
        err.seek(0)
        if child.returncode != 0:
            raise Failure(f"{shlex.join(command)}: exit code {child.returncode}\n{err.read()[-2000:]}")
        return out.read(), usage.ru_maxrss / 1024


def measure(command, threads):
    text, peak = run(command, threads)
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if not lines:
        raise Failure(f"{shlex.join(command)}: printed no JSON line")
    try:
        result = json.loads(lines[-1])
    except json.JSONDecodeError as error:
        raise Failure(f"{shlex.join(command)}: its last JSON line is broken: {error}") from error
    missing = [k for k in NEEDED if not isinstance(result.get(k), (int, float))]
    if missing:
        raise Failure(f"{shlex.join(command)}: its JSON line lacks the numbers {', '.join(missing)}")
    if result["rss_mb"] > peak + 1:
        raise Failure(f"{shlex.join(command)}: it states {result['rss_mb']} MB, the operating system only {peak:.1f}")
    result["exit_peak_mb"] = peak
    return result


def commands(args):
    """{side: command}; phalanx first."""
    ours = args.ours
    for key in ("config", "steps", "threads", "warmup"):
        ours = ours.replace("{" + key + "}", str(getattr(args, key)))
    peer = [args.python, "-W", "ignore", str(args.peers / "gpt_train.py"), "--config", args.config, "--threads",
            str(args.threads), "--steps", str(args.steps), "--warmup", str(args.warmup)]
    return {"phalanx": shlex.split(ours), **{mode: [*peer, "--mode", mode] for mode in args.modes}}


def check_same_model(results):
    """Sides that state their number of parameters must state the same."""
    sizes = {side: r["params"] for side, r in results.items() if "params" in r}
    if len(set(sizes.values())) > 1:
        raise Failure(f"the sides train different models: parameters {sizes}")


def measure_rounds(args):
    sides = commands(args)
    rounds, gemm = [], []
    torch = {}
    for number in range(args.rounds):
        results = {}
        for side in (list(sides) if number % 2 == 0 else list(reversed(sides))):
            load = os.getloadavg()[0]
            text, _ = run([args.python, "-c", GEMM, str(args.peers), str(args.threads)], args.threads)
            rate, idle, version = text.split()
            torch = {"torch": version, "torch_import_mb": float(idle)}
            gemm.append(float(rate))
            got = {**measure(sides[side], args.threads), "gemm_before": float(rate), "load_before": load}
            results[side] = got
            print(f"round {number + 1} of {args.rounds}  {side:8} {got['tokens_s']:10.1f} tokens/s  "
                  f"{got['rss_mb']:8.1f} MB  matrix product {gemm[-1]:.1f} GFLOP/s before", file=sys.stderr)
        check_same_model(results)
        rounds.append(results)
    return rounds, gemm, torch


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(args, rounds, gemm):
    sides = ["phalanx", *args.modes]
    median = {s: {k: statistics.median(r[s][k] for r in rounds) for k in (*NEEDED, "exit_peak_mb")} for s in sides}
    ratios = {m: {name: spread([r["phalanx"][key] / r[m][key] for r in rounds])
                  for name, key in (("speed", "tokens_s"), ("pct_of_gemm", "pct_of_gemm"), ("memory", "rss_mb"))}
              for m in args.modes}
    smallest = min(args.modes, key=lambda m: median[m]["rss_mb"])
    return {"median": median, "ratio": ratios, "gemm_between": spread(gemm), "smallest_peer": smallest,
            "memory_ratio_smallest_peer": ratios[smallest]["memory"]["median"],
            "load_before_first": rounds[0]["phalanx"]["load_before"]}


def git(*args):
    return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def describe_machine():
    model = platform.processor() or platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.search(r"model name\s*:\s*(.*)", cpuinfo).group(1)
    except (OSError, AttributeError):
        pass  # not Linux, or an architecture that does not name its model
    cores = len(os.sched_getaffinity(0))
    # The working tree is told apart from its commit, reports aside: writing one must not change the next.
    commit = git("rev-parse", "--short", "HEAD") or "no commit yet"
    dirty = git("status", "--porcelain", "--", ".", ":!bench/reports")
    return {"cpu": model, "cores": cores, "kernel": platform.release(),
            "commit": commit + (" with local changes" if dirty else ""), "date": datetime.date.today().isoformat()}


def reproduce(args):
    """The command line without the paths of this machine."""
    peers = os.path.relpath(args.peers, ROOT)
    ours = "" if args.ours == OURS else f" --ours {shlex.quote(args.ours)}"
    return (f"python bench/peers/train_vs_pytorch.py --peers {peers} --python PYTHON --config {args.config} "
            f"--modes {','.join(args.modes)} --threads {args.threads} --rounds {args.rounds} --steps {args.steps} "
            f"--warmup {args.warmup}{ours}")


def table(header, rows):
    text = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in text) + "\n"


def tables(args, rounds, summary):
    sides = ["phalanx", *args.modes]
    medians = table(
        ["side", "tokens/s", "best tokens/s", "step ms", "GFLOP/s of matrix products", "% of it", "peak MB",
         "MB after exit", "loss"],
        [[s, f"{m['tokens_s']:.1f}", f"{m['tokens_s_best']:.1f}", f"{m['step_ms']:.1f}", f"{m['gemm_gflops']:.1f}",
          f"{m['pct_of_gemm']:.1f}", f"{m['rss_mb']:.1f}", f"{m['exit_peak_mb']:.1f}", f"{m['loss']:.3f}"]
         for s, m in ((s, summary["median"][s]) for s in sides)])

    def cell(v):
        return f"{v['median']:.3f} ({v['min']:.3f} to {v['max']:.3f})"

    ratios = table(["phalanx beside", "tokens/s", "% of matrix-product rate", "peak memory"],
                   [[m, cell(r["speed"]), cell(r["pct_of_gemm"]), cell(r["memory"])]
                    for m, r in summary["ratio"].items()])
    each = table(["round", *[f"{s} tokens/s" for s in sides], *[f"GFLOP/s before {s}" for s in sides]],
                 [[i + 1, *[f"{r[s]['tokens_s']:.1f}" for s in sides], *[f"{r[s]['gemm_before']:.1f}" for s in sides]]
                  for i, r in enumerate(rounds)])
    return medians, ratios, each


def report(args, rounds, summary, machine, torch):
    medians, ratios, each = tables(args, rounds, summary)
    gemm = summary["gemm_between"]
    return f"""# Training `{args.config}` beside PyTorch {torch['torch']}, {args.threads} thread(s)

{machine['cpu']}, {machine['cores']} core(s), Linux {machine['kernel']}; {machine['date']}; commit {machine['commit']}.

    {reproduce(args)}

Medians over {args.rounds} interleaved rounds of {args.steps} steady steps
(fp32, the sizes of `{args.config}` in the peers' `common.py`):

{medians}
Ratios phalanx / peer within a round, median (lowest to highest):

{ratios}
The peer with the smallest memory is {summary['smallest_peer']}: phalanx holds
{summary['memory_ratio_smallest_peer']:.2f} x of it. Importing torch alone holds {torch['torch_import_mb']:.0f} MB.

Each round, and the matrix-product rate a separate process measured just before each run:

{each}
That rate was {gemm['median']:.1f} GFLOP/s in the median, {gemm['min']:.1f} to {gemm['max']:.1f};
load average before the first run {summary['load_before_first']:.2f}.
"""


def report_path(args, machine):
    if args.report:
        return args.report
    words = re.sub(r"\(.*?\)|processor|cpu|@.*", " ", machine["cpu"], flags=re.IGNORECASE)
    hardware = "-".join(re.findall(r"[a-z0-9]+", words.lower())[:4]) + f"-{machine['cores']}c"
    stem = f"train-vs-pytorch-{args.config}_{hardware}_{machine['date']}"
    folder = ROOT / "bench" / "reports"
    names = [folder / f"{stem}{suffix}.md" for suffix in ("", *(f"_{i}" for i in range(2, 100)))]
    return next(p for p in names if not p.exists())


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=ROOT / "../shared/peers", help="folder of gpt_train.py")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the peers")
    parser.add_argument("--config", default="small", choices=list(STEPS))
    parser.add_argument("--modes", default="eager", help="peer modes, separated by commas: eager, hf, compile")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="steady steps of a run; default by configuration")
    parser.add_argument("--warmup", type=int, help="steps a peer leaves out first; default by configuration")
    parser.add_argument("--ours", default=OURS, help="our command, run in the repository root; {config} {steps} "
                        "{threads} {warmup} are filled in (default: %(default)s)")
    parser.add_argument("--report", type=Path, help="Markdown file (default: a new one in bench/reports)")
    args = parser.parse_args(argv)
    args.peers = args.peers.resolve()
    args.modes = args.modes.split(",")
    args.steps = args.steps or STEPS[args.config]
    args.warmup = WARMUP[args.config] if args.warmup is None else args.warmup
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads need at least 1")
    if set(args.modes) - {"eager", "hf", "compile"} or len(set(args.modes)) < len(args.modes):
        parser.error(f"--modes got {','.join(args.modes)}; needed: different ones of eager, hf, compile")
    if not (args.peers / "gpt_train.py").exists():
        parser.error(f"--peers: no gpt_train.py in {args.peers}")
    return args


def main(argv=None):
    args = parse(argv)
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"note: load average is {busy:.2f} before the start; other work makes the spread wider", file=sys.stderr)
    try:
        rounds, gemm, torch = measure_rounds(args)
    except Failure as failure:
        print(f"train_vs_pytorch: {failure}", file=sys.stderr)
        return 1
    summary, machine = summarize(args, rounds, gemm), describe_machine()
    path = report_path(args, machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(report(args, rounds, summary, machine, torch), encoding="utf-8")
    print("\n".join(tables(args, rounds, summary)))
    print(json.dumps({"script": "train_vs_pytorch", "config": args.config, "threads": args.threads,
                      "rounds": args.rounds, "steps": args.steps, **torch, **machine, **summary,
                      "report": os.path.relpath(path, ROOT)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
