"""Which trainers a data set is suited for, from its first rows: pairs for dpo, orpo or reward, conversations for sft."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused
from autotrain_llm.declare.trainer import Trainer

FIRST_ROWS = 100
# Kinds of rows, the more particular first: the formats that they are recognised as, the shapes in which trainers read them, each of which must
# be possible, and words.
KINDS: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("prompt/completion/label",), ("preferences",), "answers that are labelled good or bad"),
    (("preference",), ("preferences", "scored"), "preference pairs"),
    (("messages", "sharegpt"), ("conversations",), "conversations"),
    (("alpaca", "prompt/completion"), ("conversations",), "prompts with answers"),
    (("text",), ("documents", "conversations"), "texts"),
    (("prompts",), ("prompts",), "prompts without answers"),
)


@dataclass(frozen=True)
class SuitedTrainers:
    """What the rows are, in words, their columns, and the trainers that are made for such rows."""

    rows: str
    columns: tuple[str, ...]
    trainers: tuple[str, ...]


def suited_trainers(request: DataRequest) -> SuitedTrainers:
    """Recognise the first rows as each trainer would. Raises Refused if none can read them."""
    formats: dict[tuple[str, bool], str | None] = {}
    columns: dict[str, None] = {}
    faults: list[Refused] = []

    def format_for(trainer: Trainer) -> str | None:
        way = trainer.rows, trainer.parts_pairs
        if way not in formats:
            formats[way] = None
            try:
                dataset = open_data(replace(request, rows=trainer.rows, trainer=trainer.name, most_rows=FIRST_ROWS))
            except Refused as refused:
                faults.append(refused)
            else:
                formats[way] = dataset.format
                columns.update(dict.fromkeys((*dataset.columns.values(), *dataset.unused)))
        return formats[way]

    for names, shapes, words in KINDS:
        suited = [
            trainer.name for trainer in TRAINERS.values() if trainer.rows in shapes and format_for(trainer) in names
        ]
        if {*shapes} == {TRAINERS[name].rows for name in suited}:
            return SuitedTrainers(words, tuple(columns), tuple(suited))
    raise faults[-1] if faults else Refused(())
