"""The order in which a run goes through its rows: that of training, from the rows of a mixture or of one data set, and that of evaluation."""

from __future__ import annotations

from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.mixture.mixture import items_of_sources
from autotrain_llm.data.order import DataOrder, EpochOrder, ShuffledOrder, ranges_of
from autotrain_llm.planning.evaluation import items_of_a_row
from autotrain_llm.trainers.sft import Sft


def epoch_order(context: RunContext, *, packing: bool) -> EpochOrder:
    """The order of an epoch's items: rows, packs of them, or the answers of each."""
    prepared = context.prepared
    assert prepared is not None
    length = pack_tokens(context) if packing else None
    items = items_of_sources(prepared.train, items_of_a_row(context), length)
    return prepared.mixture.order(items) if prepared.mixture else ShuffledOrder(sum(items), context.config.seed)


def pack_tokens(context: RunContext) -> int:
    """The most tokens of a pack: those of the longest row, or of `--batch-tokens`."""
    config, longest = context.config, context.limit.tokens
    return max(longest, config[Sft].batch_tokens or 0) if config.applies("batch_tokens") else longest


def evaluation_orders(context: RunContext) -> list[DataOrder]:
    """The orders of evaluation: the sources of a mixture are evaluated one after the other."""
    prepared = context.prepared
    assert prepared is not None
    each = items_of_a_row(context)
    if prepared.mixture is None:
        return [DataOrder(range(each * len(prepared.valid)))]
    return [DataOrder(own) for own in ranges_of(items_of_sources(prepared.valid, each, None)) if own]
