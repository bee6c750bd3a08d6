"""The memory of a run and the size of its checkpoints, from the shape of its model and the tokens of its largest batch.

Only formulas: they count the tensors that the libraries allocate, in bytes. `planning/memory_budget.py` decides their inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from autotrain_llm.params.precision import OFFLOAD, SELECTIVE

FLOAT, HALF = 4, 2
MEBI = 2**20
# A process that has loaded torch, transformers, peft and trl; on a GPU, the CUDA context with its kernels.
LIBRARIES = {"cpu": 630 * MEBI, "cuda": 600 * MEBI}
# Allocated by the first steps: compiled kernels and their scratch space; on a GPU, the workspaces of cuBLAS.
WARM = {"cpu": 40 * MEBI, "cuda": 72 * MEBI}
# On a processor oneDNN compiles a kernel for each shape of a matrix product in half precision and caches it: half a megabyte, more in attention.
# Batches of different size have different shapes. By default oneDNN keeps the latest 1024 kernels; the run limits it to those that one step
# needs (all layers share them) and a few more: 15 to 20 outside of attention, and in attention, whose blocks get narrower as rows get longer,
# 42 for rows of 1024 and 318 tokens. With fewer than a step needs, every layer would compile them again.
KERNEL, KERNELS_OUTSIDE_ATTENTION, TOKENS_OF_A_KERNEL, USUAL_ROW, MOST_KERNELS = 0.6 * MEBI, 40, 24, 1024, 1024
SHORTFALL_OF_DISTINCT_SHAPES = 0.1  # from this shortfall of the mean batch on, nearly every batch has shapes of its own
# Fragmentation of the C library's heap, as a share of the saved activations: a gap between live tensors can't hold the next aligned block of
# the same size. Half precision makes more short-lived copies, batches of different size reuse fewer gaps, and checkpointing frees larger
# contiguous pieces. A GPU's allocator reuses blocks of the same size and does not fragment in this way.
FRAGMENTATION, FRAGMENTATION_FP32, CHECKPOINTED_SHARE, SHORTFALL_FRAGMENTATION = 0.42, 0.2, 0.7, 2.0
# The training code uses these constants too (run/engine/flat/):
# Tokens whose logits are held at once. On a processor the size hardly matters between 256 and 1024; below, the matrix products
# get slower, above, a tile leaves the cache. On a GPU the tile is what keeps the logits below this many bytes in float32.
CPU_TILE = 512
CUDA_TILE_BYTES, FEWEST_TILE = 1 << 29, 128
# Logits that are processed at once between the matrix products: a megabyte in float32, which stays in a core's cache.
CPU_PIECE = 1 << 18
# The most bytes that the log-probabilities of a batch save for their backward pass: 256 MiB.
KEPT_BYTES = 1 << 28
# On a processor attention is computed in blocks of BLOCK_SCORES scores over all heads, but of at least FEWEST_QUERIES queries. A layer saves
# the attention probabilities for its backward pass if they take at most KEPT_PROBABILITIES bytes.
BLOCK_SCORES, FEWEST_QUERIES = 1 << 20, 64
KEPT_PROBABILITIES = 24 * MEBI
SCORE_BUFFERS = 3  # each holds a block's attention scores; all blocks and layers share them
# Up to this row length torch's float32 kernel is faster on processors than blocks in half precision. Forward and backward of 4,096 tokens,
# kernel against blocks: 21.9 and 30.5 ms in rows of 65 tokens, 24.8 and 25.9 in rows of 100, 28.5 and 24.7 of 130, 37.3 and 27.9 of 250.
SHORT_SPAN = 128
# With a teacher, a GPU's tile of logits is converted to float32 in TEACHER_PARTS parts, each held in TEACHER_TENSORS tensors.
TEACHER_PARTS, TEACHER_TENSORS = 4, 7
NF4, INT8 = 0.52, 1.02  # bytes per quantised weight, including its part of the scales
PACKED = 0.5  # of a weight in 4 bits without them


@dataclass(frozen=True)
class Shape:
    """The sizes of a model that memory depends on. `queries` and `keys` are the widths of all heads together, `gated` is whether the MLP has
    a gate, `tied` whether the embedding is the head too."""

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
    """A LoRA adapter: its `values` in all layers; per layer, the total input `width` of its `matrices`; its rank, and whether it has dropout.
    `trains_rows`: of embedding and head too, for which PEFT makes copies of both, and gradients as large. `fused`: the matrices of a layer are
    computed together (run/engine/fused_adapters.py)."""

    values: int
    width: int
    matrices: int
    rank: int
    dropout: bool
    trains_rows: bool = False
    fused: bool = False


@dataclass(frozen=True)
class Run:
    """How a run computes.

    The largest batch: `tokens`, `targets` (tokens in the loss), `row` (its longest row), `span` (mean row length weighted by tokens),
    `shortfall` (how much smaller the mean batch is, as a share).
    Computation: `by_token` is whether the loss needs each token's log-probability, `scores` whether the model has a score head,
    `no_grad_tokens` the largest batch without gradients, `answers_at_once` and `kv_cache_bytes` those of sampling, `kernels` the number of
    cached oneDNN kernels, `shards` the number of parts that weights, gradients and optimizer states are divided into, `offloads` whether these
    parts lie in main memory, `whole_beside` the bytes of the largest other model that is gathered whole to score answers.
    Weights: `weight` is bytes per value, `states` the optimizer's values per trained value, `temporary` those that its step allocates, `second` a backbone that is trained in addition,
    `second_adapter` its adapter if only that is trained, `resident` the bytes of other models, by name, `precompute_bytes` those of a
    teacher that is unloaded before the first step.
    """

    tokens: int
    targets: int
    row: int = 0
    span: float = 0.0
    shortfall: float = 0.0
    device: str = "cpu"
    half: bool = False
    padded: bool = False
    eager: bool = False
    checkpointing: bool | str = False
    accumulates: bool = False
    states: float = 2
    temporary: float = 0
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
    offloads: bool = False
    whole_beside: int = 0
    no_grad_tokens: int = 0
    precompute_bytes: int = 0
    kv_cache_bytes: int = 0
    answers_at_once: int = 0
    kernels: int = 0
    resident: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Peak:
    """A moment of a run, and the bytes of everything in memory at that moment, by name."""

    moment: str
    parts: dict[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.parts.values())


def peak(shape: Shape, run: Run) -> Peak:
    """The moment with the most memory in use."""
    return max(moments(shape, run), key=lambda moment: moment.bytes)


def moments(shape: Shape, run: Run) -> list[Peak]:
    """The moments that can be the peak of a run; memory in use at any other is below one of these."""
    always = _always(shape, run)
    kept, entry = kept_by_layer(shape, run) * run.tokens, layer_input_bytes(shape, run) * run.tokens
    forward, backward = forward_bytes(shape, run), backward_bytes(shape, run) * run.tokens
    accumulated = gradients_held(shape, run) if run.accumulates else 0
    gradients = gradients_held(shape, run)
    head = head_bytes(shape, run)
    rounded = rounded_weights(shape, run)
    whole = gathered_bytes(shape, run)
    copied = copied_tables(shape, run)
    all_kept = (
        kept_by_layers(shape, run, checkpoint_bytes_of_layer if run.checkpointing else kept_by_layer)
        + outside_layer_bytes(shape, run) * run.tokens
    )
    one_layer = kept + backward
    candidates = [
        Peak(
            "when the loss is computed",
            {
                **always,
                "gradients": accumulated,
                "rounded weights": rounded,
                "gathered weights": whole,
                "activations": all_kept,
                "head": head + copied,
            },
        ),
        Peak(
            "in the backward pass of the last layer",
            {
                **always,
                "gradients": accumulated + _head_gradient(shape, run),
                "rounded weights": 0 if run.checkpointing else rounded,
                "gathered weights": whole + gathered_gradient_bytes(shape, run),
                "activations": all_kept + (one_layer if run.checkpointing else backward),
                "head": copied,
            },
        ),
        Peak(
            "in the backward pass of the first layer",
            {
                **always,
                "gradients": gradients,
                "gathered weights": whole + gathered_gradient_bytes(shape, run),
                "activations": one_layer + entry,
                "head": _tied_embedding_gradient(shape, run),
            },
        ),
    ]
    if run.temporary:
        step = {"gradients": gradients, "optimizer step": int(gradients * run.temporary)}
        candidates.append(Peak("when the weights are updated", {**always, **step}))
    if run.no_grad_tokens:
        without = {"activations": (forward + FLOAT * shape.hidden) * run.no_grad_tokens, "rounded weights": rounded}
        sampled = bool(run.answers_at_once)
        without["gathered weights"] = max(gathered_model_bytes(shape, run), run.whole_beside) if sampled else whole
        no_grad_head = head_bytes(
            shape, replace(run, tokens=run.no_grad_tokens, targets=run.no_grad_tokens), gradients=False
        )
        if run.precompute_bytes:
            without |= {"teacher": run.precompute_bytes, "optimizer": 0}
        name = "when the teacher runs" if run.precompute_bytes else "in a forward pass without gradients"
        candidates.append(Peak(name, {**always, **without, "head": no_grad_head}))
    if run.answers_at_once:
        logits = run.answers_at_once * shape.vocabulary * (3 * FLOAT)
        parts = {"rounded weights": rounded, "KV cache": run.kv_cache_bytes, "head": logits}
        parts["gathered weights"] = gathered_model_bytes(shape, run)
        candidates.append(Peak("when answers are generated", {**always, **parts}))
    if run.merges:
        merged = {**always, "weights": FLOAT * shape.parameters}
        candidates.append(Peak("when the adapter is merged", merged))
    return candidates


def _always(shape: Shape, run: Run) -> dict[str, int]:
    """What stays in memory from the first step to the last."""
    return {
        "libraries": LIBRARIES[run.device],
        "kernels": WARM[run.device] + int(KERNEL * run.kernels),
        "weights": scale_bytes(shape, run) + (0 if run.offloads else divided_weights(shape, run)),
        "optimizer": 0 if run.offloads else optimizer_bytes(shape, run),
        **run.resident,
        "attention score buffers": SCORE_BUFFERS * HALF * BLOCK_SCORES if _in_blocks(run) else 0,
        "heap fragmentation": fragmentation(shape, run),
    }


def divided_weights(shape: Shape, run: Run) -> int:
    """Bytes of a process's part of the weights, which may be all of them."""
    adapter = FLOAT * run.adapter.values if run.adapter else 0
    second = int(run.weight * (run.second.linear + run.second.table)) if run.second else 0
    second += FLOAT * run.second_adapter.values if run.second_adapter else 0
    return (weight_bytes(shape, run) - scale_bytes(shape, run) + adapter + second) // run.shards


def optimizer_bytes(shape: Shape, run: Run) -> int:
    """Bytes of a process's part of the optimizer's states."""
    trained = trainable_values(shape, run.adapter) + second_trained(run.second, run.second_adapter)
    return int(FLOAT * run.states * trained) // run.shards


def offloaded_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the parts that a process keeps in main memory, with what the step of the optimizer allocates there."""
    gradients = all_gradients(shape, run)
    return divided_weights(shape, run) + optimizer_bytes(shape, run) + gradients + int(gradients * run.temporary)


def kernels_kept(tokens: int, row: int) -> int:
    """How many compiled kernels to cache for a step of `tokens` tokens, in rows of up to `row`."""
    return min(MOST_KERNELS, KERNELS_OUTSIDE_ATTENTION + int(tokens / TOKENS_OF_A_KERNEL * max(1.0, row / USUAL_ROW)))


def fragmentation(shape: Shape, run: Run) -> int:
    """Bytes of the heap that are free but can't be reused."""
    if run.device != "cpu":
        return 0
    share = (
        (FRAGMENTATION if run.half else FRAGMENTATION_FP32)
        * (CHECKPOINTED_SHARE if run.checkpointing else 1)
        * (1 + SHORTFALL_FRAGMENTATION * run.shortfall)
    )
    return int(share * kept_by_layers(shape, run, _kept_without_probabilities))


def _kept_without_probabilities(shape: Shape, run: Run) -> int:
    """Saved activations of a layer without attention probabilities: these are large and of equal size, and don't fragment the heap."""
    return kept_by_layer(shape, run) - (attention_probabilities_bytes(shape, run) if _in_blocks(run) else 0)


def weight_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the loaded weights."""
    if run.quantised is None:
        return int(run.weight * shape.parameters)
    return quantised_bytes(shape, run.quantised)


def quantised_bytes(shape: Shape, quantised: str) -> int:
    """Bytes of quantised weights: embedding and head stay in float32."""
    bytes_each = NF4 if quantised == "int4" else INT8
    return int(bytes_each * shape.linear + FLOAT * (shape.parameters - shape.linear))


def scale_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the scales of weights in 4 bits, which are not divided among processes."""
    return int((NF4 - PACKED) * shape.linear) if run.quantised == "int4" else 0


def trainable_values(shape: Shape, adapter: Adapter | None) -> int:
    return adapter.values if adapter else shape.parameters


def gradients_held(shape: Shape, run: Run) -> int:
    """Bytes of all gradients on the device that computes."""
    return 0 if run.offloads else all_gradients(shape, run)


def all_gradients(shape: Shape, run: Run) -> int:
    """Bytes of all gradients, in float32 as the trained weights are."""
    return FLOAT * (trainable_values(shape, run.adapter) + second_trained(run.second, run.second_adapter)) // run.shards


def second_trained(second: Shape | None, adapter: Adapter | None) -> int:
    """Trained values of a second backbone: all of them, or those of its adapter."""
    if second is None:
        return 0
    return adapter.values if adapter else second.linear + second.table


def rounded_weights(shape: Shape, run: Run) -> int:
    """Bytes of autocast's half-precision copies of the linear layers, which live until the backward pass of their layer; of a divided model there
    are none."""
    if run.shards > 1 or not run.half or run.weight != FLOAT or run.quantised:
        return 0
    return HALF * (shape.linear + (run.second.linear if run.second else 0))


def gathered_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the whole weights that a process of a divided model holds at once, in the dtype that is computed in or in 4 bits: a layer, the next
    one, which is gathered meanwhile, and embedding and head."""
    if run.shards == 1:
        return 0
    tables = shape.table * (1 if shape.tied else 2)
    value = HALF if run.half else FLOAT
    return int((PACKED if run.quantised else value) * (2 * shape.linear // max(shape.layers, 1)) + value * tables)


def gathered_model_bytes(shape: Shape, run: Run) -> int:
    """Bytes of all weights of a divided model in the dtype that is computed in or in 4 bits, as each process gathers them to sample answers and score
    them."""
    if run.shards == 1:
        return 0
    second = run.second.linear + run.second.table if run.second else 0
    value = HALF if run.half else FLOAT
    return int((PACKED if run.quantised else value) * shape.linear + value * (shape.parameters - shape.linear + second))


def gathered_gradient_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the whole gradient of a layer, as it is computed and as it is summed over processes in float32."""
    if run.shards == 1 or run.adapter is not None:
        return 0
    return ((HALF if run.half else 0) + FLOAT) * shape.linear // max(shape.layers, 1)


# Activations, in bytes for each token.


def kept_by_layers(shape: Shape, run: Run, of_layer: Callable[[Shape, Run], int]) -> int:
    """Bytes that all layers save for a batch; `of_layer` gives the bytes of one layer per token."""
    kept = shape.layers * of_layer(shape, run)
    if run.second:
        kept += run.second.layers * of_layer(run.second, replace(run, adapter=run.second_adapter))
    return kept * run.tokens


def kept_by_layer(shape: Shape, run: Run) -> int:
    """What a layer saves for its backward pass."""
    hidden, inner, value = shape.hidden, shape.intermediate, HALF if run.half else FLOAT
    products = (4 if shape.gated else 2) * inner * value  # inputs of the activation function and of the last product
    attention = attention_of_layer(shape, run)
    norms = FLOAT * (2 * hidden + 2)
    if run.adapter is None:
        norms *= 2  # the gradient of a trained weight needs its input
        inputs = 5 * hidden + shape.queries if run.half else 2 * hidden + shape.queries
        return norms + value * inputs + attention + products
    adapter = run.adapter
    down = value * adapter.matrices * adapter.rank
    if adapter.fused:
        # Each input once, with its mask in bytes, and of the MLP only both products and their own product.
        inputs = 2 * hidden + shape.queries
        mask = inputs + inner if adapter.dropout else 0
        return norms + value * (inputs + (3 if shape.gated else 2) * inner) + attention + down + mask
    inputs = value * (adapter.width - inner) if run.half else value * (2 * hidden + shape.queries)
    # A dropout mask is saved as floats on a processor and as bytes on a GPU; the masked input is a copy, counted above.
    mask = adapter.width * ((FLOAT if run.device == "cpu" else 1) if adapter.dropout else 0)
    return norms + max(0, inputs) + attention + products + down + mask


def attention_of_layer(shape: Shape, run: Run) -> int:
    """What attention saves per token: queries, keys and values; with a fused kernel also the output and a float for each head."""
    if _in_blocks(run):
        return HALF * (shape.queries + 2 * shape.keys) + attention_probabilities_bytes(shape, run)
    # For short rows torch's own kernel is called with float32.
    short = run.device == "cpu" and not run.padded and run.span <= SHORT_SPAN
    value = HALF if run.half else FLOAT
    scores = FLOAT * shape.heads * (3 if run.eager else 1)
    quadratic = shape.heads * run.row * (2 * value + FLOAT) if run.eager and run.padded else 0
    return (FLOAT if short else value) * (2 * shape.queries + 2 * shape.keys) + scores + quadratic


def _in_blocks(run: Run) -> bool:
    """Whether attention is computed in blocks of matrix products and not by a fused kernel."""
    return run.device == "cpu" and not run.padded and run.half and run.span > SHORT_SPAN


def attention_probabilities_bytes(shape: Shape, run: Run) -> int:
    """Bytes of the attention probabilities that a layer saves per query: those of all keys up to the end of its block; 0 if they are too large."""
    queries = max(1.0, run.span)
    while queries > FEWEST_QUERIES and queries * run.span * shape.heads > BLOCK_SCORES:
        queries /= 2
    per_token = int(HALF * shape.heads * (run.span + queries) / 2)
    return per_token if per_token * run.tokens <= KEPT_PROBABILITIES else 0


def layer_input_bytes(shape: Shape, run: Run) -> int:
    """The input of a layer, which is all that checkpointing saves of it."""
    return shape.hidden * (HALF if (run.adapter or run.shards > 1) and run.half else FLOAT)


def checkpoint_bytes_of_layer(shape: Shape, run: Run) -> int:
    """What a checkpointed layer saves on the device: its input, if that is not in main memory, and by `selective` the results of its products, of
    the last one too, and of a fused attention kernel."""
    if run.checkpointing == OFFLOAD:
        return 0
    saved = layer_input_bytes(shape, run)
    if run.checkpointing == SELECTIVE:
        value = HALF if run.half else FLOAT
        products = shape.queries + 2 * shape.keys + 2 * shape.hidden + (2 if shape.gated else 1) * shape.intermediate
        saved += value * products
        if not _in_blocks(run) and not run.eager:
            short = run.device == "cpu" and not run.padded and run.span <= SHORT_SPAN
            saved += (FLOAT if short else value) * shape.queries + FLOAT * shape.heads
    return saved


def backward_bytes(shape: Shape, run: Run) -> int:
    """What a layer allocates during its backward pass, in addition to what it saved."""
    return (6 if run.half else 8) * shape.hidden + (6 if run.half else 12) * shape.intermediate


def forward_bytes(shape: Shape, run: Run) -> int:
    """What a layer allocates in a forward pass without gradients."""
    value = HALF if run.half else FLOAT
    return 3 * FLOAT * shape.hidden + value * (2 * shape.queries + 2 * shape.keys + 3 * shape.intermediate)


def outside_layer_bytes(shape: Shape, run: Run) -> int:
    """Activations outside of the layers: the last norm, rotary positions, and the hidden states of the target tokens."""
    norm = (2 if run.adapter is None else 1) * FLOAT * shape.hidden
    positions = 2 * FLOAT * (shape.queries // max(shape.heads, 1))
    return (
        norm
        + positions
        + (FLOAT + 2 * (HALF if run.half else FLOAT)) * shape.hidden * run.targets // max(run.tokens, 1)
    )


# The head.


def head_bytes(shape: Shape, run: Run, *, gradients: bool = True) -> int:
    """The logits of a tile of tokens with everything computed from them, and the head's rounded weight with its gradient."""
    if run.scores:
        return 0
    value = HALF if run.half else FLOAT
    vocab_size = shape.vocabulary
    trained = gradients and trains_tables(run)
    rounded = HALF * shape.table if run.half and run.weight == FLOAT and not run.quantised and run.shards == 1 else 0
    # Each tile adds its gradient of the weight to the sum: on a processor in half precision, on a GPU in float32.
    added = 0 if not run.half else HALF if run.device == "cpu" else FLOAT
    of_weight = shape.table * (FLOAT + added) if trained else 0
    if run.padded and run.teacher_hidden_size is None:
        # Forward: logits of every token, and logits and log-probabilities of the targets in float32. Backward: their gradients too.
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
    """The number of tokens whose logits are held at once."""
    return CPU_TILE if device == "cpu" else max(FEWEST_TILE, CUDA_TILE_BYTES // (FLOAT * vocab_size))


def taught_rows(rows: int) -> int:
    """How many of the `rows` tokens of a GPU's tile are compared with a teacher at once."""
    return min(rows, max(FEWEST_TILE, rows // TEACHER_PARTS))


def _head_gradient(shape: Shape, run: Run) -> int:
    """The gradient of the head; if tied, it is held until that of the embedding is added."""
    return 0 if run.scores or not trains_tables(run) else FLOAT * shape.table


def _tied_embedding_gradient(shape: Shape, run: Run) -> int:
    """The gradient of a tied embedding, which is complete before it is added to the head's."""
    return FLOAT * shape.table if shape.tied and trains_tables(run) and not run.scores else 0


def trains_tables(run: Run) -> bool:
    """Whether there are gradients of embedding and head, of which an adapter may train a few rows."""
    return run.adapter is None or run.adapter.trains_rows


def copied_tables(shape: Shape, run: Run) -> int:
    """Bytes of the copies of embedding and head with the rows that an adapter trains."""
    if run.adapter is None or not run.adapter.trains_rows:
        return 0
    return int(run.weight * shape.table * (1 if run.scores else 2))


def frozen_bytes(shape: Shape, weight: float, *, half: bool) -> int:
    """Bytes of a model that is not trained. In half precision, float32 linear layers are rounded once, and a tied head into a copy."""
    if not half or weight != FLOAT:
        return int(weight * shape.parameters)
    return HALF * shape.linear + (FLOAT + HALF) * shape.table


# Checkpoints on disk.


def checkpoint_bytes(
    shape: Shape,
    adapter: Adapter | None,
    states: float,
    second: Shape | None = None,
    second_adapter: Adapter | None = None,
) -> int:
    """Bytes of the trained weights and their optimizer state."""
    trained = trainable_values(shape, adapter) + second_trained(second, second_adapter)
    return int(trained * FLOAT * (1 + states))
