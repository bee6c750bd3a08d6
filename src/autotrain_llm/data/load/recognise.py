"""Which columns of some tables are what: the tables are reshaped, step by step, until a format fits. Rows may lie inside others, judge several answers, or
have their turns anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import methodcaller

from autotrain_llm.data.dataset import DATA_FLAG
from autotrain_llm.data.files.read import Stream, Table, unwrapped
from autotrain_llm.data.formats.answer_lists import lists_of_answers
from autotrain_llm.data.formats.column_checks import (
    check_columns,
    check_header,
    check_named_columns,
    check_second_header,
    check_token_ids,
    check_turns_in_rows,
    check_unused_half,
)
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.detect import ColumnMapping, recognise
from autotrain_llm.data.formats.judged import judged_answers
from autotrain_llm.data.formats.nesting import nested_rows, takes_less, wrappers
from autotrain_llm.data.formats.paths import lifted, value_at
from autotrain_llm.data.formats.talks import exchange_in, talk_in, with_told_roles
from autotrain_llm.data.formats.unrecognised import lacks_a_pair, observe_unrecognised
from autotrain_llm.data.load.sample import sampled
from autotrain_llm.data.load.tables import Reading
from autotrain_llm.data.request import COLUMN_FLAGS, SIDES
from autotrain_llm.data.rules.mixture import the_rows_have_another_format
from autotrain_llm.data.rules.preferences import no_answer_is_judged_better, pairs_are_made_of_judged_answers
from autotrain_llm.data.turns import numbered_columns, with_turns_together
from autotrain_llm.data.wording import listed


def column_mapping(reading: Reading, tables: list[Table], flag: str) -> tuple[ColumnMapping | None, list[Table]]:
    """The mapping of the tables' columns, or None with a finding; and the tables as they were reshaped for it."""
    if reading.prepared is not None and flag == DATA_FLAG:
        info = reading.prepared.info
        return ColumnMapping(info.format, info.columns), tables
    shaping = _Shaping(reading, tables, flag)
    request = reading.request
    shaping.gather_numbered_turns()
    shaping.lift_named_paths()
    # A position in a stream of rows is that of a row as it was read, so that none of those can become several.
    if not request.streaming:
        shaping.explode_nested_rows()
    if shaping.is_paired and not request.streaming:
        shaping.spread_answers()
    shaping.mapping = shaping.fitting(shaping.columns)
    if shaping.is_paired or request.rows == "conversations":
        shaping.pair_judged_answers()
    if shaping.mapping is None:
        shaping.join_exchange()
    if shaping.mapping is None or shaping.mapping.format == "text":
        shaping.unwrap()
    check_second_header(shaping.columns, shaping.name, reading.observations)
    shaping.gather_talks()
    return (shaping.mapping if shaping.is_usable() else None), shaping.tables


class _Shaping:
    """Tables whose format is looked for: their columns as they are so far, and the mapping of these, if a format fits."""

    def __init__(self, reading: Reading, tables: list[Table], flag: str) -> None:
        self.reading, self.tables, self.flag = reading, tables, flag
        self.request, self.observations = reading.request, reading.observations
        self.name = listed(table.file for table in tables)
        self.columns = columns_of(tables)
        self.mapping: ColumnMapping | None = None
        self.named = [getattr(self.request, field) for field in COLUMN_FLAGS if self.request.is_named(field)]
        self.is_paired = self.request.rows in ("preferences", "scored")

    def reshape(self, change: Callable[[Table], Table], columns: Columns | None = None) -> None:
        """Change the tables, and later those of an evaluation split in the same way; `columns` are those of the changed tables, where they are known."""
        self.tables = self.reading.reshape(self.tables, change)
        self.columns = columns_of(self.tables) if columns is None else columns

    def fitting(self, columns: Columns) -> ColumnMapping | None:
        """The mapping of a format that fits, where all columns that the user named are there."""
        return recognise(columns, self.request) if all(name in columns.values for name in self.named) else None

    # -- rows that become others ----------------------------------------------------------------------------------------

    def gather_numbered_turns(self) -> None:
        """Turns in columns `message_1`, `message_2`, … become one column."""
        if "messages" not in self.columns.values and any(len(numbered_columns(row)) > 1 for row in self.columns.rows):
            self.reshape(methodcaller("changed", with_turns_together))

    def lift_named_paths(self) -> None:
        """What the user named that is no column, and is inside objects of the rows, as `request.body` is, becomes a column."""
        named = dict.fromkeys([*self.named, *self.request.context_columns])
        absent = [name for name in named if name not in self.columns.values]
        paths = [path for path in absent if any(value_at(row, path) is not None for row in self.columns.rows)]
        if paths:
            self.reshape(methodcaller("changed", partial(lifted, paths=paths)))

    def explode_nested_rows(self) -> None:
        """Each object in a list of rows becomes a row; of those as many as are wanted are kept, where they are in memory."""
        request = self.request
        named = {getattr(request, field) for field in SIDES}
        while (nested := nested_rows(self.columns)) not in (None, *named):
            self.reshape(methodcaller("exploded", nested))
            in_memory = not any(isinstance(table.rows, Stream) for table in self.tables)
            if self.flag == DATA_FLAG and request.max_samples is not None and in_memory:
                sizes = [len(table.rows) for table in self.tables]
                self.tables = sampled(self.tables, sizes, request.max_samples, request.seed)
                self.columns = columns_of(self.tables)

    def spread_answers(self) -> None:
        """Each of the answers in lists of chosen or of rejected ones becomes a row."""
        lists = lists_of_answers(self.columns, self.request.text_column, self.request.rejected_column)
        if lists is not None:
            self.observations.add(pairs_are_made_of_judged_answers, file=self.name, how=lists.how)
            self.reshape(methodcaller("spread", lists.rows_of))

    def pair_judged_answers(self) -> None:
        """Answers beside a judgement of them become pairs, where no format fits or all of them would be one answer; of pairs a trainer that needs answers
        trains on the better ones."""
        is_named = not self.is_paired and any(map(self.request.is_named, SIDES))
        judged = None if is_named else judged_answers(self.columns, self.request.ignored_columns)
        trained = "" if self.mapping is None else self.mapping.columns.get("completion")
        if judged is None or (trained and not judged.is_none_to_train_on(trained)) or trained is None:
            return
        paired = Columns(row for cells in self.columns.rows if (row := judged.pair(cells)) is not None)
        mapping = self.fitting(paired)
        if mapping is not None:
            self.mapping = replace(mapping, is_judged=True)
            self.observations.add(pairs_are_made_of_judged_answers, file=self.name, how=judged.how)
            left_out = partial(self.observations.row, no_answer_is_judged_better)
            self.reshape(methodcaller("changed", judged.pair, left_out), paired)

    def join_exchange(self) -> None:
        """The turns of a request and the turn that answers it become prompt and answer, wherever they lie."""
        exchange = exchange_in(self.columns) if not any(map(self.request.is_named, SIDES)) else None
        if exchange is None:
            return
        inside = Columns(map(exchange.row, self.columns.rows))
        named = replace(self.request, prompt_column=exchange.request, text_column=exchange.answer)
        self.mapping = recognise(inside, named)
        if self.mapping is not None:
            self.reshape(methodcaller("changed", exchange.row), inside)

    def unwrap(self) -> None:
        """The rows inside the objects of a column take the place of those around them, where they are more than texts beside others."""
        for wrapper in wrappers(self.columns):
            inside = Columns(unwrapped(cells, wrapper) for cells in self.columns.rows)
            inner = self.fitting(inside)
            is_half = inner is not None and inner.format == "text" and takes_less(self.columns, wrapper)
            if inner is not None and not is_half and (self.mapping is None or inner.format != "text"):
                self.mapping = inner
                self.reshape(methodcaller("unwrapped", wrapper), inside)
                return

    def gather_talks(self) -> None:
        """Turns that lie elsewhere in the rows become a column, where no format fits; and turns get the roles that all of them together tell."""
        talk = None
        if self.mapping is not None and "messages" in self.mapping.columns:
            talk = with_told_roles(self.columns, self.mapping.columns["messages"])
        elif self.mapping is None and all(name in self.columns.values for name in self.named):
            talk = talk_in(self.columns, self.request.text_column or self.request.prompt_column)
        if talk is None:
            return
        inside = Columns(map(talk.row, self.columns.rows))
        told = recognise(inside, self.request)
        if told is not None:
            self.mapping = told
            self.reshape(methodcaller("changed", talk.row), inside)

    # -- what is wrong with the columns ---------------------------------------------------------------------------------

    def is_usable(self) -> bool:
        """Whether a format fits, and all named columns are there; what is wrong with the columns is reported."""
        columns, mapping, request = self.columns, self.mapping, self.request
        name, observations = self.name, self.observations
        if mapping is None and lacks_a_pair(columns, request):
            observe_unrecognised(columns, request, name, observations, self.flag)
            return False
        if not check_named_columns(columns, request, name, observations, self.flag):
            check_header(columns, None, name, observations)
            return False
        if not any(request.is_named(field) for field in SIDES):
            check_header(columns, mapping, name, observations)
        if mapping is None:
            other = None if request.format is None else recognise(columns, replace(request, format=None))
            if other is not None:
                facts = {"file": name, "wanted": request.format, "recognised": other.format}
                observations.add(the_rows_have_another_format, **facts)
            else:
                observe_unrecognised(columns, request, name, observations, self.flag)
            return False
        check_columns(columns, mapping, name, observations)
        check_turns_in_rows(columns, mapping, request, name, observations)
        check_token_ids(columns, mapping, request, name, observations)
        if self.flag == DATA_FLAG:
            self.reading.reported |= check_unused_half(columns, mapping, request, name, observations)
        return True


def columns_of(tables: list[Table]) -> Columns:
    """The columns of the first rows of some tables."""
    return Columns(cells for table in tables for _, _, cells in table.first())
