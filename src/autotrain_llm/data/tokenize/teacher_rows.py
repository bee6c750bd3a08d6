"""The rows as a teacher sees them: the same answers, token for token, after a prompt that may be different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from autotrain_llm.data.example import Example
from autotrain_llm.data.order import choose_rows
from autotrain_llm.data.rows import PairRows, Rows, RowsBuilder, TokenRows

if TYPE_CHECKING:
    from numpy import ndarray

    from autotrain_llm.data.tokenize.prepare import Prepared

Row = tuple[Any, Any]


@dataclass
class TeacherRows:
    """A row for each prepared row, `loss_mask` exactly where the prepared row's targets are; and the rows for which there is none."""

    train: TokenRows
    valid: TokenRows
    unlike: list[Example]

    def evaluating(self, count: int, seed: int) -> TeacherRows:
        """The same rows with `count` of the evaluation rows, the choice of `Prepared.evaluating`."""
        if count >= len(self.valid):
            return self
        return TeacherRows(self.train, self.valid.select(choose_rows(len(self.valid), count, seed)), self.unlike)


class ManyRows(Protocol):
    """Rows by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def answer_rows(rows: Rows) -> ManyRows:
    """The rows at whose targets the teacher is evaluated: of a pair the prompt with the chosen answer."""
    return Chosen(rows) if isinstance(rows, PairRows) else rows


class Chosen:
    """Of each pair the prompt with the chosen answer."""

    def __init__(self, pairs: PairRows) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int, /) -> Row:
        import numpy

        (prompt, _), (ids, loss_mask) = self.pairs.prompt[index], self.pairs.chosen[index]
        unseen = numpy.zeros(len(prompt), dtype=bool)
        return numpy.concatenate([prompt, ids]), numpy.concatenate([unseen, loss_mask])


def targets_of(loss_mask: ndarray) -> ndarray:
    """The indices of the tokens of a row that are predicted: those that are trained on, except the first token of the row."""
    import numpy

    places = numpy.flatnonzero(loss_mask)
    return places[places > 0]


def align(student: Prepared, teacher: Prepared, train: Sequence[Example], valid: Sequence[Example]) -> TeacherRows:
    """Find the targets of each of the student's rows in the teacher's row of the same example, which may continue after them."""
    unlike: list[Example] = []
    of_train = _side(student.train, teacher.train, train, unlike)
    return TeacherRows(of_train, _side(student.valid, teacher.valid, valid, unlike), unlike)


def _side(student: Rows, teacher: Rows, examples: Sequence[Example], unlike: list[Example]) -> TokenRows:
    of_example = {int(source): row for row, source in enumerate(teacher.source)}
    own, others = answer_rows(student), answer_rows(teacher)
    builder = RowsBuilder()
    for row, source in enumerate(student.source.tolist()):
        other = of_example.get(source)
        answer = None if other is None else _aligned(own[row], others[other])
        if answer is None:
            unlike.append(examples[source])
        else:
            builder.add(*answer, source)
    return builder.built()


def _aligned(own: Row, other: Row) -> tuple[Any, list[tuple[int, int]]] | None:
    """The teacher's row up to the last of the student's targets, with the spans of these; None if the answers differ."""
    import numpy

    (ids, loss_mask), (their_ids, their_loss_mask) = own, other
    targets = targets_of(loss_mask)
    skipped = int(numpy.count_nonzero(loss_mask)) - len(targets)
    target_indices = numpy.flatnonzero(their_loss_mask)[skipped : skipped + len(targets)]
    if len(target_indices) < len(targets) or (len(target_indices) and target_indices[0] == 0):
        return None
    if not numpy.array_equal(numpy.asarray(ids)[targets], numpy.asarray(their_ids)[target_indices]):
        return None
    end = int(target_indices[-1]) + 1 if len(target_indices) else len(their_ids)
    return their_ids[:end], [(index, index + 1) for index in target_indices.tolist()]
