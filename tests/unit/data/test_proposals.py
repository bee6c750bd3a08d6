"""What is offered where no format fits the columns: every offer is typed and has to train the rows as it says."""

import json
import re
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotrain_llm.config.registry import TRAINERS
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.formats.paths import lifted, paths_of, value_at
from autotrain_llm.data.formats.proposals import proposals, sides_of
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.request import COLUMN_FLAGS, DataRequest
from autotrain_llm.declare.finding import ERROR, Refused

ROWS = 6
ANIMALS = ("heron", "badger", "otter", "lynx", "marmot", "stork")
# By name of a kind, a column's usual content in row `at`.
NEVER_TRAINED = {
    "ResponseId": lambda at: f"R_{at}x9",
    "questionTime": lambda at: f"Nov {at + 1}, 2014",
    "startDate": lambda at: f"2024-03-0{at + 1} 10:11",
    "pageUrl": lambda at: f"https://example.org/{at}",
    "reviewerName": lambda at: ANIMALS[at].title(),
    "source": lambda at: "the same corpus of letters",
    "Topic": lambda at: ("birds", "fish")[at % 2],
}
SIDES = {
    "given": lambda at: f"The {ANIMALS[at]} lives by the river in the east.",
    "made": lambda at: f"By the eastern river you find the {ANIMALS[at]}, as a rule.",
}
names = st.sampled_from(("alpha", "beta", "Q1", "Q2", "lines", "en_plain", "en_polite", "verse", "memo"))


def rows_of(columns):
    return [{name: of_row(at) for name, of_row in columns.items()} for at in range(ROWS)]


def offered(rows, shape="conversations", trainer="sft"):
    return proposals(Columns(rows), DataRequest("rows.jsonl", shape, trainer=trainer))


def named(request_columns, contexts=(), **more):
    return {**request_columns, "named": tuple(request_columns), "context_columns": tuple(contexts), **more}


@settings(max_examples=40, deadline=None)
@given(
    sides=st.permutations(list(SIDES)),
    side_names=st.lists(names, min_size=2, max_size=2, unique=True),
    others=st.lists(st.sampled_from(sorted(NEVER_TRAINED)), unique=True, max_size=4),
    nested=st.sampled_from(("", "record", "one.two")),
    order=st.randoms(use_true_random=False),
)
def test_two_texts_are_offered_as_prompt_and_answer_wherever_they_are_and_nothing_else_is(
    sides, side_names, others, nested, order, tmp_path_factory
):
    columns = [(name, SIDES[side]) for name, side in zip(side_names, sides, strict=True)]
    columns += [(name, NEVER_TRAINED[name]) for name in others]
    order.shuffle(columns)
    rows = rows_of(dict(columns))
    for key in reversed(nested.split(".") if nested else []):
        rows = [{"id": at, key: row} for at, row in enumerate(rows)]
    found = offered(rows)
    prefix = f"{nested}." if nested else ""
    expected = {tuple(prefix + name for name in pair) for pair in permutations(side_names)}
    assert {(one.columns["prompt_column"], one.columns["text_column"]) for one in found} <= expected and found
    path = tmp_path_factory.mktemp("offered") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for one in found:
        dataset = open_data(DataRequest(str(path), "conversations", trainer="sft", **named(one.columns, one.contexts)))
        assert not [finding for finding in dataset.findings if finding.severity == ERROR]
        assert next(map(sides_of, dataset.train)) == (one.prompt, one.answer)
        assert len(dataset.train) == ROWS


def test_a_column_with_the_answer_in_it_is_no_prompt_of_it():
    rows = [{"whole": f"State {at} of the proof.\nsimp {at}", "step": f"simp {at}"} for at in range(ROWS)]
    assert offered(rows) == []


def test_what_tells_the_answers_to_a_prompt_apart_is_offered_as_its_context():
    rows = [
        {"original": f"{SIDES['given'](at)} It is seen at dawn.", "grade": f"grade {grade}", "easier": f"See {ANIMALS[at]} {'so ' * grade}early."}
        for at in range(ROWS)
        for grade in (2, 5)
    ]  # fmt: skip
    first = offered(rows)[0]
    assert (first.columns["prompt_column"], first.columns["text_column"]) == ("original", "easier")
    assert first.contexts == ("grade",)


def test_a_prompt_that_is_the_same_in_each_row_is_not_offered():
    rows = [{"note": "Say what you know of it.", "memo": SIDES["given"](at)} for at in range(ROWS)]
    assert offered(rows) == []


@pytest.mark.parametrize(
    ("items", "is_row"),
    [
        ([{"operation": "replace", "content": "a very bad word"}], False),
        ([{"evaluator": "w0", "reason": "It says more of it."}], False),
        ([{"criterion": "It names the river in the east.", "weight": "high"}], False),
        ([{"question": "Where does it live?", "answer": "It lives by the river."}], True),
    ],
)
def test_a_row_for_each_item_is_offered_only_of_items_that_are_rows(items, is_row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": at, "items": items, "n": at}) + "\n" for at in range(ROWS)))
    try:
        open_data(DataRequest(str(path), "conversations", trainer="sft"))
        fixes = []
    except Refused as refused:
        fixes = [finding.fix for finding in refused.findings if finding.code == "D110"]
    assert any("write a row for each item of items" in fix for fix in fixes) == is_row or not fixes


@settings(max_examples=40, deadline=None)
@given(
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3), st.lists(inner, max_size=3)
        ),
        max_leaves=6,
    )
)
def test_lifting_takes_a_value_out_and_leaves_the_rest(value):
    row = {"top": value, "x": 1}
    for path in paths_of(row):
        changed = lifted(row, [path])
        assert value_at(changed, path) == value_at(row, path)
        assert {name: changed[name] for name in row if name != "top"} == {"x": 1}
        if path != "top":
            assert value_at({"top": changed["top"]}, path) is None


def test_columns_of_choices_and_the_number_of_the_right_one_are_a_question_and_its_answer(tmp_path):
    rows = [
        {"goal": f"Cool tea {at}.", "sol1": f"Wait {at} hours.", "sol2": f"Heat it {at} times.", "label": at % 2}
        for at in range(ROWS)
    ]
    first = offered(rows)[0]
    assert first.columns == {"prompt_column": "goal", "text_column": "label"}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = open_data(DataRequest(str(path), "conversations", trainer="sft", **named(first.columns)))
    assert [row.completion for row in dataset.train] == [str(at % 2) for at in range(ROWS)]
    assert dataset.train[1].prompt == "Cool tea 1.\n0. Wait 1 hours.\n1. Heat it 1 times."


# -- every flag that is offered is one that the trainer reads, and works ------------------------------------------------------

ANIMAL = "The {} lives by the river, to the east of the old mill."
UNLIKE = {
    "a review and its mood": lambda at: {"review": ANIMAL.format(ANIMALS[at]), "mood": ("glad", "sad")[at % 2]},
    "a goal and two ways": lambda at: {
        "goal": f"How do I find a {ANIMALS[at]}?",
        "sol1": ANIMAL.format(ANIMALS[at]),
        "sol2": f"Look for a {ANIMALS[at]} under the bridge.",
        "label": at % 2,
    },
    "two texts": lambda at: {"alpha": ANIMAL.format(ANIMALS[at]), "beta": f"By the river you find the {ANIMALS[at]}."},
    "two ratings": lambda at: {"alpha": ANIMAL.format(ANIMALS[at]), "depth": at, "breadth": ROWS - at},
    "inside an object": lambda at: {"record": {"alpha": ANIMAL.format(ANIMALS[at]), "beta": f"See the {ANIMALS[at]}."}},
    "a post and its lists": lambda at: {"post": ANIMAL.format(ANIMALS[at]), "remarks": [f"I saw a {ANIMALS[at]}.", "So did I."]},
    "lists for and against": lambda at: {
        "query": f"Where does the {ANIMALS[at]} live?",
        "pos": [ANIMAL.format(ANIMALS[at])],
        "neg": ["In the sea.", f"The {ANIMALS[at]} is a song."][: at % 3],
        "pos_scores": [0.9],
        "type": "normal",
    },
    "passages and negatives": lambda at: {
        "query": f"Where does the {ANIMALS[at]} live?",
        "relevant_passages": [ANIMAL.format(ANIMALS[at])],
        "hard_negatives": ["In the sea.", f"The {ANIMALS[at]} is a song."],
    },
    "answers and what is beside": lambda at: {
        "prompt": f"Where does the {ANIMALS[at]} live?",
        "completion": ANIMAL.format(ANIMALS[at]),
        "rationale": f"A {ANIMALS[at]} was seen there in the spring.",
        "note": f"It was {ANIMALS[at]} who asked us this.",
        "resolved": bool(at % 2),
    },
}  # fmt: skip
FLAG = re.compile(r"(--[a-z][a-z-]+)(?: ('[^']*'|[^\s;,]+))?")
FIELDS = {flag: field for field, flag in COLUMN_FLAGS.items()} | {
    "--context-columns": "context_columns",
    "--ignore-columns": "ignored_columns",
}


def reported(path, trainer, **wanted):
    """What is said about rows, also where they are refused."""
    try:
        return open_data(DataRequest(str(path), TRAINERS[trainer].rows, trainer=trainer, **wanted)).findings
    except Refused as problem:
        return problem.findings


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("shape", UNLIKE)
def test_every_flag_that_is_offered_is_read_by_the_trainer_and_resolves_what_it_is_offered_for(
    shape, trainer, tmp_path
):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(UNLIKE[shape](at)) + "\n" for at in range(ROWS)))
    for finding in reported(path, trainer):
        for way in re.split(r"; (?:or )?", str(finding.fix)):
            flags = dict(FLAG.findall(re.sub(r"\(.*?\)", "", way)))
            reader = TRAINERS[flags.pop("--trainer", trainer)]
            unread = [flag for flag in flags if not reader.reads(flag[2:].replace("-", "_"))]
            assert not unread, f"{reader.name} does not read {unread}: {way}"
            if reader.name != trainer or not flags or "…" in flags.values() or not flags.keys() <= FIELDS.keys():
                continue
            typed = {FIELDS[flag]: value.strip("'") for flag, value in flags.items()}
            lists = {field: tuple(value.split(",")) for field, value in typed.items() if field.endswith("columns")}
            named_fields = tuple(field for field in typed if field not in lists)
            again = reported(path, trainer, **typed | lists | {"named": named_fields})
            assert finding.code not in [one.code for one in again if one.message == finding.message], way


@pytest.mark.parametrize("trainer", ["dpo", "orpo", "reward", "kto"])
@pytest.mark.parametrize("shape", ["lists for and against", "passages and negatives"])
def test_better_and_worse_answers_in_sight_are_named_and_not_left_to_be_filled_in(shape, trainer, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(UNLIKE[shape](at)) + "\n" for at in range(ROWS)))
    (finding,) = reported(path, trainer)
    better, worse = [*UNLIKE[shape](0)][1:3]
    assert (
        f"--text-column {better} --rejected-text-column {worse}" in finding.fix and "…" not in finding.fix.split("(")[0]
    )
