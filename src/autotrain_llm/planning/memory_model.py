"""The memory that a run takes and the bytes it writes, from the shape of its model and the tokens of its largest batch.

Formulas alone: what is counted is what the libraries allocate, tensor by tensor, in bytes. Which numbers go in is `plan/memory_budget.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

FLOAT, HALF = 4, 2
MEBI = 2**20
# What a process holds that has torch, transformers, peft and trl loaded; a CUDA context with its kernels.
LIBRARIES = {"cpu": 630 * MEBI, "cuda": 600 * MEBI}
# What the first steps bring with them: kernels compiled for the shapes met, their scratch space; on a GPU the workspaces of cuBLAS.
WARM = {"cpu": 40 * MEBI, "cuda": 72 * MEBI}
# On a processor a matrix product in half precision keeps what was compiled for its shape, half a megabyte and more where it is part of attention,
# and where batches are of unlike size each brings shapes of its own. The library (oneDNN) keeps the latest 1024. Here it keeps what one step
# needs, which all layers share, and little more: outside of attention 15 to 20, and in attention, whose blocks get narrower as rows get longer,
# 42 for rows of 1024 and 318 tokens. With fewer than a step needs, every layer would compile them again.
KERNEL, KERNELS_OUTSIDE_ATTENTION, TOKENS_OF_A_KERNEL, USUAL_ROW, MOST_KERNELS = 0.6 * MEBI, 40, 24, 1024, 1024
SHORTFALL_OF_DISTINCT_SHAPES = 0.1  # share by which the mean batch is smaller, from which on hardly a shape comes twice
# Fragmentation of the C library's heap, as a share of what all layers keep: memory freed between tensors that live on can't hold the next
# aligned block of the same size. Half precision makes more short-lived copies, batches of different size reuse less of what was freed, and
# checkpointing frees more of it together. A GPU's allocator reuses blocks of the same size and has no such share.
FRAGMENTATION, FRAGMENTATION_FP32, CHECKPOINTED_SHARE, SHORTFALL_FRAGMENTATION = 0.42, 0.2, 0.7, 2.0
# What training goes by as well (run/flat/):
# Tokens whose logits are held at once. On a processor the size hardly matters between 256 and 1024; below, the matrix products
# get slower, above, a tile leaves the cache. On a GPU the tile is what keeps the logits below this many bytes in float32.
CPU_TILE = 512
CUDA_TILE_BYTES, FEWEST_TILE = 1 << 29, 128
# Logits between whose matrix products everything is done at once: a megabyte in float32, which stays in a core's cache.
CPU_PIECE = 1 << 18
# What the log-probabilities of a batch keep for their backward pass at most, in bytes: 256 MiB.
KEPT_BYTES = 1 << 28
# On a processor attention is computed in blocks, of so many scores over all heads, or of so many queries if that is more; and a layer
# keeps the shares for its backward pass where they are no more bytes than that.
BLOCK_SCORES, FEWEST_QUERIES = 1 << 20, 64
KEPT_PROBABILITIES = 24 * MEBI
SCORE_BUFFERS = 3  # each holds a block's attention scores; all blocks and layers share them
# Up to so many tokens in a segment, torch's kernel for processors is faster in float32 than blocks in half precision are: forward and
# backward of 4,096 tokens in rows of 65 took 21.9 ms to their 30.5, in rows of 100 24.8 to 25.9, of 130 28.5 to 24.7, of 250 37.3 to 27.9.
SHORT_SPAN = 128
# Of a GPU's tile whose logits are compared with a teacher's, a part in so many is in float32 at a time, and in so many tensors.
TEACHER_PARTS, TEACHER_TENSORS = 4, 7
NF4, INT8 = 0.52, 1.02  # bytes of a quantised weight with its share of the scales


@dataclass(frozen=True)
class Shape:
    """What the estimate needs of a model: parameters; hidden and intermediate size, layers, vocabulary; the width of all its queries
    and of all its keys, and heads; whether the MLP has a gate and the embedding is the head too."""

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    queries: int = 0
    keys: int = 0
    heads: int = 1
    gated: bool = True
    tied: bool = True

    @property
    def table(self) -> int:
        """Values of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def linear(self) -> int:
        """Values of the linear layers between embedding and head."""
        return max(0, self.parameters - self.table * (1 if self.tied else 2))


@dataclass(frozen=True)
class Adapter:
    """LoRA: its values in all layers, by layer the width of what goes into its matrices, their number and rank, and its dropout."""

    values: int
    width: int
    matrices: int
    rank: int
    dropout: bool


@dataclass(frozen=True)
class Run:
    """How a run computes. `tokens` and `targets` are those of its largest batch, `row` the longest row of it, `span` the tokens of a token's row in the
    mean, `shortfall` by what share of it the mean batch
    is smaller; `resident` is what else lies
    in memory all the time, by name, `precompute_bytes` the bytes of a model that is let go before the first step. `by_token` is an objective of each token's log-probability. `no_grad_tokens` are tokens of the largest
    batch without gradients; `shards` among how many processes weights, gradients and states are shared out; `kv_cache_bytes` the bytes of keys and values of
    answers that are written; `kernels` how many compiled for a shape are kept; `states` the values that the optimizer keeps of each that is trained.
    `second` is a backbone that is trained beside the model's own, `second_adapter` what of it is trained where that is not all."""

    tokens: int
    targets: int
    row: int = 0
    span: float = 0.0
    shortfall: float = 0.0
    device: str = "cpu"
    half: bool = False
    padded: bool = False
    eager: bool = False
    checkpointing: bool = False
    accumulates: bool = False
    states: float = 2
    weight: float = FLOAT
    quantised: str | None = None
    adapter: Adapter | None = None
    scores: bool = False
    by_token: bool = False
    teacher_hidden_size: int | None = None
    second: Shape | None = None
    second_adapter: Adapter | None = None
    merges: bool = False
    shards: int = 1
    no_grad_tokens: int = 0
    precompute_bytes: int = 0
    kv_cache_bytes: int = 0
    answers_at_once: int = 0
    kernels: int = 0
    resident: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Peak:
    """The largest moment of a run: what it is called, and the bytes of everything that lies in memory then, by name."""

    moment: str
    parts: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())


def peak(shape: Shape, run: Run) -> Peak:
    """Of all moments the one that takes most."""
    return max(moments(shape, run), key=lambda found: found.bytes)


def moments(shape: Shape, run: Run) -> list[Peak]:
    """The moments at which a run may hold most: the others lie between two of these."""
    always = _always(shape, run)
    kept, entry = kept_by_layer(shape, run) * run.tokens, layer_input_bytes(shape, run) * run.tokens
    forward, backward = forward_bytes(shape, run), backward_bytes(shape, run) * run.tokens
    accumulated = gradients_held(shape, run) if run.accumulates else 0
    gradients = gradients_held(shape, run)
    head = head_bytes(shape, run)
    rounded = rounded_weights(shape, run)
    all_kept = (
        kept_by_layers(shape, run, layer_input_bytes if run.checkpointing else kept_by_layer)
        + outside_layer_bytes(shape, run) * run.tokens
    )
    one_layer = kept + backward
    found = [
        Peak(
            "when the loss is computed",
            {**always, "gradients": accumulated, "rounded weights": rounded, "activations": all_kept, "head": head},
        ),
        Peak(
            "when the last layer goes backward",
            {
                **always,
                "gradients": accumulated + _head_gradient(shape, run),
                "rounded weights": 0 if run.checkpointing else rounded,
                "activations": all_kept + (one_layer if run.checkpointing else backward),
            },
        ),
        Peak(
            "when the first layer goes backward",
            {
                **always,
                "gradients": gradients,
                "activations": one_layer + entry,
                "head": _tied_embedding_gradient(shape, run),
            },
        ),
    ]
    if run.no_grad_tokens:
        without = {"activations": (forward + FLOAT * shape.hidden) * run.no_grad_tokens, "rounded weights": rounded}
        no_grad_head = head_bytes(
            shape, replace(run, tokens=run.no_grad_tokens, targets=run.no_grad_tokens), gradients=False
        )
        if run.precompute_bytes:
            without |= {"teacher": run.precompute_bytes, "optimizer": 0}
        name = "when the teacher is asked" if run.precompute_bytes else "when rows are read without learning"
        found.append(Peak(name, {**always, **without, "head": no_grad_head}))
    if run.answers_at_once:
        logits = run.answers_at_once * shape.vocabulary * (3 * FLOAT)
        parts = {"rounded weights": rounded, "answers that are written": run.kv_cache_bytes, "head": logits}
        found.append(Peak("when answers are written", {**always, **parts}))
    if run.merges:
        merged = {**always, "weights": FLOAT * shape.parameters}
        found.append(Peak("when the adapter is merged", merged))
    return found


def _always(shape: Shape, run: Run) -> dict[str, int]:
    """What lies in memory from the first step to the last."""
    trained = trainable_values(shape, run.adapter) + second_trained(run.second, run.second_adapter)
    adapter = FLOAT * run.adapter.values if run.adapter else 0
    second = int(run.weight * (run.second.linear + run.second.table)) if run.second else 0
    second += FLOAT * run.second_adapter.values if run.second_adapter else 0
    return {
        "libraries": LIBRARIES[run.device],
        "kernels": WARM[run.device] + int(KERNEL * run.kernels),
        "weights": (weight_bytes(shape, run) + adapter + second) // run.shards,
        "optimizer": int(FLOAT * run.states * trained) // run.shards,
        **run.resident,
        "rooms of attention": SCORE_BUFFERS * HALF * BLOCK_SCORES if _in_blocks(run) else 0,
        "holes in the heap": fragmentation(shape, run),
    }


def kernels_kept(tokens: int, row: int) -> int:
    """How many compiled kernels a step with so many tokens, in rows of up to `row`, needs to be kept."""
    return min(MOST_KERNELS, KERNELS_OUTSIDE_ATTENTION + int(tokens / TOKENS_OF_A_KERNEL * max(1.0, row / USUAL_ROW)))


def fragmentation(shape: Shape, run: Run) -> int:
    """Bytes that the heap of a process holds beyond the tensors in it."""
    if run.device != "cpu":
        return 0
    share = (
        (FRAGMENTATION if run.half else FRAGMENTATION_FP32)
        * (CHECKPOINTED_SHARE if run.checkpointing else 1)
        * (1 + SHORTFALL_FRAGMENTATION * run.shortfall)
    )
    return int(share * kept_by_layers(shape, run, _kept_without_probabilities))


def _kept_without_probabilities(shape: Shape, run: Run) -> int:
    """What a layer keeps without attention probabilities, which are few, large and of one size in each layer: they don't fragment the heap."""
    return kept_by_layer(shape, run) - (attention_probabilities_bytes(shape, run) if _in_blocks(run) else 0)


def weight_bytes(shape: Shape, run: Run) -> int:
    """The model's weights as they are loaded; quantised ones beside embedding and head, which stay whole."""
    if run.quantised is None:
        return int(run.weight * shape.parameters)
    each = NF4 if run.quantised == "int4" else INT8
    return int(each * shape.linear + FLOAT * (shape.parameters - shape.linear))


def trainable_values(shape: Shape, adapter: Adapter | None) -> int:
    return adapter.values if adapter else shape.parameters


def gradients_held(shape: Shape, run: Run) -> int:
    """All gradients, in the type of what is trained: float32."""
    return FLOAT * (trainable_values(shape, run.adapter) + second_trained(run.second, run.second_adapter)) // run.shards


def second_trained(second: Shape | None, adapter: Adapter | None) -> int:
    """What is trained of a second backbone: all of it, or its adapter."""
    if second is None:
        return 0
    return adapter.values if adapter else second.linear + second.table


def rounded_weights(shape: Shape, run: Run) -> int:
    """Under autocast every float32 weight of a linear layer is rounded once, and kept until it has gone backward."""
    if not run.half or run.weight != FLOAT or run.quantised:
        return 0
    return HALF * (shape.linear + (run.second.linear if run.second else 0))


# Activations, in bytes for each token.


def kept_by_layers(shape: Shape, run: Run, of_layer: Callable[[Shape, Run], int]) -> int:
    """What all layers keep of a batch, in bytes; `of_layer` says how many of a token."""
    kept = shape.layers * of_layer(shape, run)
    if run.second:
        kept += run.second.layers * of_layer(run.second, replace(run, adapter=run.second_adapter))
    return kept * run.tokens


def kept_by_layer(shape: Shape, run: Run) -> int:
    """What a layer keeps until it goes backward."""
    hidden, inner, value = shape.hidden, shape.intermediate, HALF if run.half else FLOAT
    products = (4 if shape.gated else 2) * inner * value  # what the activation function and the last product take in
    attention = attention_of_layer(shape, run)
    norms = FLOAT * (2 * hidden + 2)
    if run.adapter is None:
        norms *= 2  # a weight that is trained keeps what it is multiplied with
        inputs = 5 * hidden + shape.queries if run.half else 2 * hidden + shape.queries
        return norms + value * inputs + attention + products
    adapter = run.adapter
    taken_in = value * (adapter.width - inner) if run.half else value * (2 * hidden + shape.queries)
    down = value * adapter.matrices * adapter.rank
    # On a processor the mask of a dropout is kept as numbers, on a GPU as bytes; what is left of the input is a copy of its own.
    mask = adapter.width * ((FLOAT if run.device == "cpu" else 1) if adapter.dropout else 0)
    return norms + max(0, taken_in) + attention + products + down + mask


def attention_of_layer(shape: Shape, run: Run) -> int:
    """What attention keeps of a token: queries, keys and values, and, of kernels, the output and a number for each head."""
    if _in_blocks(run):
        return HALF * (shape.queries + 2 * shape.keys) + attention_probabilities_bytes(shape, run)
    short = (
        run.device == "cpu" and not run.padded and run.span <= SHORT_SPAN
    )  # then torch's own kernel is given float32
    value = HALF if run.half else FLOAT
    scores = FLOAT * shape.heads * (3 if run.eager else 1)
    quadratic = shape.heads * run.row * (2 * value + FLOAT) if run.eager and run.padded else 0
    return (FLOAT if short else value) * (2 * shape.queries + 2 * shape.keys) + scores + quadratic


def _in_blocks(run: Run) -> bool:
    """Whether attention is computed in blocks of matrix products, and not by a kernel."""
    return run.device == "cpu" and not run.padded and run.half and run.span > SHORT_SPAN


def attention_probabilities_bytes(shape: Shape, run: Run) -> int:
    """Bytes of a layer's shares for each query, where they are kept: of all keys before its block, and of those in it."""
    queries = max(1.0, run.span)
    while queries > FEWEST_QUERIES and queries * run.span * shape.heads > BLOCK_SCORES:
        queries /= 2
    found = int(HALF * shape.heads * (run.span + queries) / 2)
    return found if found * run.tokens <= KEPT_PROBABILITIES else 0


def layer_input_bytes(shape: Shape, run: Run) -> int:
    """What goes into a layer: all that is kept of it where activations are computed twice."""
    return shape.hidden * (HALF if run.adapter and run.half else FLOAT)


def backward_bytes(shape: Shape, run: Run) -> int:
    """What a layer holds beside that while it goes backward."""
    return (6 if run.half else 8) * shape.hidden + (6 if run.half else 12) * shape.intermediate


def forward_bytes(shape: Shape, run: Run) -> int:
    """What a layer holds while it is computed without gradients."""
    value = HALF if run.half else FLOAT
    return 3 * FLOAT * shape.hidden + value * (2 * shape.queries + 2 * shape.keys + 3 * shape.intermediate)


def outside_layer_bytes(shape: Shape, run: Run) -> int:
    """What lies outside of the layers: the last norm, positions, and the hidden states that something is predicted from."""
    norm = (2 if run.adapter is None else 1) * FLOAT * shape.hidden
    positions = 2 * FLOAT * (shape.queries // max(shape.heads, 1))
    return (
        norm
        + positions
        + (FLOAT + 2 * (HALF if run.half else FLOAT)) * shape.hidden * run.targets // max(run.tokens, 1)
    )


# The head.


def head_bytes(shape: Shape, run: Run, *, gradients: bool = True) -> int:
    """Logits of a tile of tokens with all that is made of them, and the head's weight with its gradient."""
    if run.scores:
        return 0
    value = HALF if run.half else FLOAT
    vocab_size = shape.vocabulary
    trained = gradients and run.adapter is None
    rounded = HALF * shape.table if run.half and run.weight == FLOAT and not run.quantised else 0
    # A tile's share of the weight's gradient is added to the sum: on a processor rounded, on a GPU in float32.
    added = 0 if not run.half else HALF if run.device == "cpu" else FLOAT
    of_weight = shape.table * (FLOAT + added) if trained else 0
    if run.padded and run.teacher_hidden_size is None:
        # Logits of every token, those of the targets in float32 with their logarithms; then these with their gradients.
        forward = run.tokens * vocab_size * value + 2 * run.targets * vocab_size * FLOAT
        backward = 3 * run.targets * vocab_size * FLOAT if gradients else 0
        return rounded + of_weight + max(forward, backward)
    rows = min(run.targets, tile(run.device, vocab_size))
    if run.device == "cpu":
        logits = rows * vocab_size * value + min(CPU_PIECE, rows * vocab_size) * FLOAT
    elif run.teacher_hidden_size is None:
        logits = rows * vocab_size * (value + 2 * FLOAT)
    else:
        logits = rows * vocab_size * value + taught_rows(rows) * vocab_size * TEACHER_TENSORS * FLOAT
    if run.by_token and gradients and run.targets * vocab_size * value <= KEPT_BYTES:
        logits += run.targets * vocab_size * value
    if run.teacher_hidden_size is not None:
        logits += rows * vocab_size * value + run.targets * run.teacher_hidden_size * FLOAT
    return rounded + of_weight + logits


def tile(device: str, vocab_size: int) -> int:
    """Tokens whose logits, one for each of so many words, are held at once."""
    return CPU_TILE if device == "cpu" else max(FEWEST_TILE, CUDA_TILE_BYTES // (FLOAT * vocab_size))


def taught_rows(rows: int) -> int:
    """Of so many tokens of a GPU's tile, those whose logits are compared with a teacher's at once."""
    return min(rows, max(FEWEST_TILE, rows // TEACHER_PARTS))


def _head_gradient(shape: Shape, run: Run) -> int:
    """The head's gradient, which waits for that of the embedding where they are one."""
    return 0 if run.adapter or run.scores else FLOAT * shape.table


def _tied_embedding_gradient(shape: Shape, run: Run) -> int:
    """The embedding's gradient is made whole before it is added to the head's."""
    return FLOAT * shape.table if shape.tied and not run.adapter and not run.scores else 0


def frozen_bytes(shape: Shape, weight: float, *, half: bool) -> int:
    """A second model that is not trained: of float32 weights, the linear layers are rounded once, the head apart from the embedding."""
    if not half or weight != FLOAT:
        return int(weight * shape.parameters)
    return HALF * shape.linear + (FLOAT + HALF) * shape.table


# What a checkpoint takes on disk.


def checkpoint_bytes(
    shape: Shape,
    adapter: Adapter | None,
    states: float,
    second: Shape | None = None,
    second_adapter: Adapter | None = None,
) -> int:
    """The weights that are trained, and the optimizer's state of them."""
    trained = trainable_values(shape, adapter) + second_trained(second, second_adapter)
    return int(trained * FLOAT * (1 + states))
