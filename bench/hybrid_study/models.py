"""The four models of the study, the runs of each, and their configs.

Sizes are equal within 2 %: the residual width, the embedding and the number of weights in the layers. The hybrid begins with
Mamba-2, as that of Waleffe et al. 2024 (arXiv 2406.07887).
"""
from dataclasses import dataclass

WIDTH = 128
VOCABULARY = 4096

# Residual layers and the width of their MLPs.
MODELS = {
    "transformer": ("*-*-*-*-", 288),
    "mamba1": ("mmmmmm", 288),
    "mamba2": ("MMMMMM", 288),
    "hybrid": ("M*M*M*-", 416),
}


@dataclass(frozen=True)
class Run:
    """One `phalanx train`: samples of a step, tokens of a sample, steps, peak learning rate, tasks (none: text), the run
    whose weights it takes over, and the shape of the decay."""
    batch: int
    tokens: int
    steps: int
    rate: float
    tasks: tuple = ()
    after: str = ""
    decay: str = "cosine"


BOOKS = (
    "phonebook entries=8..15 questions=6",
    "phonebook entries=16..32 questions=14 weight=3",
    "phonebook_reversed entries=8..32 questions=6",
    "phonebook_lookup entries=8..32 questions=8 weight=2",
    "associative_recall pairs=8..32 questions=6",
    "copy words=2..32",
)
LONG_BOOKS = (
    "phonebook entries=33..128 questions=14 weight=2",
    "phonebook_reversed entries=33..128 questions=6 weight=2",
)
# From few candidates to many: where a blind guess is often right, there is something to learn from. A model that starts
# with books of 32 entries finds no gradient to follow in ten minutes.
RUNS = {
    "text": Run(16, 512, 300, 3e-3),
    "text_long": Run(4, 2048, 45, 5e-4, after="text"),
    "copy": Run(16, 128, 250, 2e-3, ("copy words=2..12",), decay="constant"),
    "lookup": Run(8, 192, 1800, 3e-3, (
        "copy words=2..16",
        "associative_recall pairs=4..10 questions=2",
        "phonebook_lookup entries=1..3 weight=3",
        "phonebook_lookup entries=4..8 questions=4 weight=2",
    ), after="copy", decay="constant"),
    "books": Run(8, 768, 780, 3e-3, BOOKS, after="lookup"),
    "long": Run(2, 3072, 120, 5e-4, BOOKS + LONG_BOOKS, after="books"),
}


def quoted(items):
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def config(model, name, run, folder, ranks):
    pattern, ffn = MODELS[model]
    text = f"""# {model}, {name}: written by bench/hybrid_study
[model]
pattern = "{pattern}"
hidden_size = {WIDTH}
ffn_hidden_size = {ffn}
num_attention_heads = 4
seq_length = {run.tokens}
max_position_embeddings = 131072
normalization = "rms_norm"
activation = "swiglu"
position_embedding = "rope"
qk_norm = true
bias = false
init_std = 0.04
mamba_state_dim = 64
mamba_num_groups = 1
mamba_head_dim = 32
mamba_chunk_size = 64

[parallel]
data = {ranks}

[train]
global_batch_size = {run.batch}
micro_batch_size = {run.batch // ranks}
train_iters = {run.steps}
reset_at_sequences = true
eval_interval = {run.steps // 10 if run.steps >= 100 else run.steps}
eval_iters = {8 if run.steps >= 100 else 1}

[optim]
lr = {run.rate}
min_lr = {run.rate / 10}
lr_decay_style = "{run.decay}"
lr_warmup_iters = {min(50, run.steps // 5)}

[data]
tokenizer_type = "HuggingFaceTokenizer"
tokenizer_model = "{folder}/tokenizer"
split = "960,40,0"
"""
    text += f"tasks = {quoted(run.tasks)}\n" if run.tasks else f'data_path = ["{folder}/text_text_document"]\n'
    if run.after:
        text += f'\n[checkpoint]\nload = "{folder}/{model}/{run.after}/checkpoints"\nfinetune = true\n'
    return text + f'\n[log]\ninterval = 50\n\n[runtime]\nthreads = 1\nrun_dir = "{folder}/{model}/{name}"\n'
