"""Opening data: what is found, read, recognised, converted and said about it."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from autotrain_llm.data.dataset import texts
from autotrain_llm.data.formats.messages import conversation
from autotrain_llm.data.load.open import open_data
from autotrain_llm.data.observations import RowUnusable, findings_of
from autotrain_llm.data.request import DataRequest
from autotrain_llm.declare.finding import Refused
from support import paths

SHARED = paths.SHARED / "data"
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def opened(path, rows="conversations", **settings):
    named = tuple(name for name in ("text_column", "prompt_column", "rejected_column") if settings.get(name))
    return open_data(DataRequest(str(path), rows, named=named, **settings))


def refusal(path, rows="conversations", **settings):
    with pytest.raises(Refused) as caught:
        opened(path, rows, **settings)
    return caught.value.findings


def codes(findings):
    return [finding.code for finding in findings]


def of(findings, code):
    (found,) = [finding for finding in findings if finding.code == code]
    return found


def test_rows_of_token_ids_are_an_error_where_the_trainer_needs_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"input_ids": [1, 2], "labels": [1, 2]}\n')
    (found,) = refusal(tmp_path / "a.jsonl", "prompts", trainer="ppo")
    assert (found.code, found.severity) == ("D111", "error") and "a.jsonl" in found.message


# -- file formats ----------------------------------------------------------------------------------------------------------


TWO = [{"text": "one"}, {"text": "two, and more"}]


def as_csv(path, delimiter=","):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["text"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(TWO)


def as_parquet(path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(TWO), path)


WRITERS = {
    "a.jsonl": lambda path: write(path, TWO),
    "a.json": lambda path: path.write_text(json.dumps(TWO)),
    "wrapped.json": lambda path: path.write_text(json.dumps({"version": 1, "data": TWO})),
    "columns.json": lambda path: path.write_text(json.dumps({"text": ["one", "two, and more"]})),
    "lines_called.json": lambda path: write(path, TWO),
    "array_called.jsonl": lambda path: path.write_text(json.dumps(TWO)),
    "a.csv": as_csv,
    "semicolons.csv": lambda path: path.write_text("text;id\none;1\ntwo, and more;2\n"),
    "a.tsv": lambda path: as_csv(path, "\t"),
    "a.parquet": as_parquet,
    "a.txt": lambda path: path.write_text("one\ntwo, and more\n"),
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in TWO))),
    "windows.jsonl": lambda path: path.write_bytes(b"\r\n".join(json.dumps(row).encode() for row in TWO)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_file_format_gives_the_same_rows(name, tmp_path):
    WRITERS[name](tmp_path / name)
    dataset = opened(tmp_path / name)
    assert [example.text for example in dataset.train] == ["one", "two, and more"]
    assert [example.row for example in dataset.train] == [1, 2]
    assert dataset.findings == ()


@pytest.mark.parametrize("end", ["<|endoftext|>", "</s>"])
def test_a_token_alone_in_a_line_ends_a_text_of_paragraphs(end, tmp_path):
    (tmp_path / "stories.txt").write_text(f"One.\n\nStill one.\n{end}\nTwo.\n\n{end}\n\nThree.")
    stories = opened(tmp_path / "stories.txt", "documents")
    assert [example.text for example in stories.train] == ["One.\n\nStill one.", "Two.", "Three."]


def test_paragraphs_are_documents_where_blank_lines_part_them_and_lines_where_none_do(tmp_path):
    (tmp_path / "poem.txt").write_text("a\nb\n\n\nc\n")
    (tmp_path / "lines.txt").write_text("a\nb\nc")
    poem, lines = opened(tmp_path / "poem.txt", "documents"), opened(tmp_path / "lines.txt", "documents")
    assert [(e.text, e.line) for e in poem.train] == [("a\nb", 1), ("c", 5)]
    assert [(e.text, e.line) for e in lines.train] == [("a", 1), ("b", 2), ("c", 3)]


def test_a_markdown_file_is_one_document(tmp_path):
    (tmp_path / "notes.md").write_text("# One\n\ntext\n")
    assert [e.text for e in opened(tmp_path / "notes.md", "documents").train] == ["# One\n\ntext\n"]


def test_a_folder_written_by_datasets_is_read_without_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"messages": CHAT}] * 2)
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "saved")
    rows.save_to_disk(tmp_path / "single")
    both = opened(tmp_path / "saved", valid_split="test")
    assert (len(both.train), len(both.valid)) == (2, 1)
    assert opened(tmp_path / "single").train[1].messages == CHAT


def test_a_folder_that_holds_a_whole_disk_is_not_searched_for_rows(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / str(number) / "rows.jsonl", TWO)
        write(tmp_path / ".hidden" / f"{number}.jsonl", TWO)
    monkeypatch.setattr("autotrain_llm.data.files.locate.MOST_ENTRIES", 10)
    assert len(opened(tmp_path).train) == 6
    monkeypatch.setattr("autotrain_llm.data.files.locate.MOST_ENTRIES", 5)
    assert "holds more than 5 files and folders" in of(refusal(tmp_path), "D101").message


def test_a_folder_with_splits_is_told_apart_by_names_and_folders(tmp_path):
    write(tmp_path / "d" / "train-00000-of-00002.jsonl", TWO)
    write(tmp_path / "d" / "train-00001-of-00002.jsonl", [{"text": "three"}])
    write(tmp_path / "d" / "val" / "x.jsonl", [{"text": "four"}])
    (tmp_path / "d" / "README.md").write_text("not data")
    dataset = opened(tmp_path / "d", valid_split="validation")
    assert [e.text for e in dataset.train] == ["one", "two, and more", "three"]
    assert [e.text for e in dataset.valid] == ["four"]
    assert dataset.train[2].file == str(tmp_path / "d/train-00001-of-00002.jsonl") and dataset.train[2].row == 1


def test_a_folder_without_the_split_says_what_it_has(tmp_path):
    write(tmp_path / "d" / "test.jsonl", TWO)
    found = of(refusal(tmp_path / "d"), "D108")
    assert "train" in found.message and "test.jsonl" in found.message and "--data-path" in found.message


# -- recognition -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "format_name", "messages"),
    [
        ({"messages": CHAT}, "messages", CHAT),
        ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}, "sharegpt", CHAT),
        ({"messages": json.dumps(CHAT)}, "messages", CHAT),
        ({"messages": repr(CHAT)}, "messages", CHAT),
        ({"chat": [{**CHAT[0], "content": [{"type": "text", "text": "Hi"}]}, CHAT[1]]}, "messages", CHAT),
        ({"instruction": "Hi", "input": "", "output": "Hello"}, "alpaca", CHAT),
    ],
)
def test_conversations_are_recognised_in_every_spelling(row, format_name, messages, tmp_path):
    dataset = opened(write(tmp_path / "a.jsonl", [row]))
    assert (dataset.format, dataset.train[0].messages) == (format_name, messages)
    assert format_name in dataset.describe()


@pytest.mark.parametrize(
    "names",
    [
        ("prompt", "completion"),
        ("question", "answer"),
        ("input", "output"),
        ("query", "response"),
        ("Question", " Answer "),
    ],
)
def test_pairs_are_recognised_under_their_usual_names(names, tmp_path):
    dataset = opened(write(tmp_path / "a.jsonl", [{"id": 1, names[0]: "2+2?", names[1]: "4"}]))
    assert dataset.format == "prompt/completion"
    assert (dataset.train[0].prompt, dataset.train[0].completion) == ("2+2?", "4")
    assert dataset.train[0].extra == {"id": 1}


def test_an_instruction_keeps_input_system_and_history(tmp_path):
    row = {"instruction": "Sort", "input": "2 1", "output": "1 2", "system": "Be brief.", "history": [["a?", "b"]]}
    example = opened(write(tmp_path / "a.jsonl", [row])).train[0]
    assert [turn["content"] for turn in example.messages] == ["Be brief.", "a?", "b", "Sort\n2 1", "1 2"]
    assert example.prompt.startswith("Be brief.") and "### Input:\n2 1" in example.prompt
    assert example.completion == "1 2"


def test_tool_calls_and_tools_are_kept_with_arguments_as_objects(tmp_path):
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        CHAT[0],
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2"},
        CHAT[1],
    ]
    row = {"messages": turns, "tools": json.dumps([{"type": "function", "function": {"name": "add"}}])}
    example = opened(write(tmp_path / "a.jsonl", [row])).train[0]
    assert example.messages[1]["tool_calls"][0]["function"]["arguments"] == {"a": 1}
    assert example.tools[0]["function"]["name"] == "add"


def test_named_columns_win_over_recognition(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": "no", "body": "yes", "messages": CHAT}])
    assert opened(path, text_column="body").train[0].text == "yes"
    pair = opened(path, prompt_column="text", text_column="body").train[0]
    assert (pair.prompt, pair.completion) == ("no", "yes")


def test_prompts_are_found_in_text_columns_and_in_conversations(tmp_path):
    plain = opened(write(tmp_path / "a.jsonl", [{"text": "Write."}]), "prompts")
    chat = opened(write(tmp_path / "b.jsonl", [{"messages": CHAT}]), "prompts")
    assert plain.train[0].prompt == "Write." and chat.train[0].prompt == CHAT[:1]


def test_other_columns_are_kept_for_reward_functions(tmp_path):
    assert opened(write(tmp_path / "a.jsonl", [{"prompt": "2+2", "truth": 4}]), "prompts").train[0].extra == {
        "truth": 4
    }


# -- preferences -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": "Hello", "rejected": "No"},
        {"question": "Hi", "good": "Hello", "bad": "No"},
        {"query": "Hi", "response": "Hello", "rejected_response": "No"},
    ],
)
def test_text_pairs_are_recognised(row, tmp_path):
    example = opened(write(tmp_path / "a.jsonl", [row]), "preferences").train[0]
    assert (example.prompt, example.chosen, example.rejected) == ("Hi", "Hello", "No")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": CHAT[:1], "chosen": CHAT[1:], "rejected": [{"role": "assistant", "content": "No"}]},
        {"chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "No"}]},
        {"prompt": "Hi", "chosen": CHAT, "rejected": [CHAT[0], {"role": "assistant", "content": "No"}]},
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "Hello"},
            "rejected": {"from": "gpt", "value": "No"},
        },
    ],
)
def test_pairs_of_turns_end_up_as_prompt_and_two_answers(row, tmp_path):
    example = opened(write(tmp_path / "a.jsonl", [row]), "preferences").train[0]
    assert example.prompt == CHAT[:1] and example.chosen == CHAT[1:]
    assert example.rejected == [{"role": "assistant", "content": "No"}]


def test_a_prompt_inside_both_texts_is_taken_out(tmp_path):
    row = {"chosen": "\n\nHuman: Hi\n\nAssistant: Hello", "rejected": "\n\nHuman: Hi\n\nAssistant: Hey"}
    example = opened(write(tmp_path / "a.jsonl", [row]), "preferences").train[0]
    assert (example.prompt, example.chosen, example.rejected) == ("\n\nHuman: Hi\n\nAssistant:", " Hello", " Hey")


def test_a_prompt_repeated_in_both_answers_is_taken_out_and_counted(tmp_path):
    rows = [{"prompt": f"Q{n}:", "chosen": f"Q{n}: yes", "rejected": f"Q{n}: no"} for n in range(4)]
    dataset = opened(write(tmp_path / "a.jsonl", rows), "preferences")
    assert dataset.train[3].chosen == " yes"
    assert "4 rows: 1, 2, 3, …" in of(dataset.findings, "D120").message


def test_equal_answers_are_left_out_and_refused_when_all_are(tmp_path):
    same = {"prompt": "Hi", "chosen": "x", "rejected": "x"}
    good = {"prompt": "Hi", "chosen": "x", "rejected": "y"}
    dataset = opened(write(tmp_path / "a.jsonl", [good, same]), "preferences")
    assert len(dataset.train) == 1 and of(dataset.findings, "D103").severity == "warning"
    findings = refusal(write(tmp_path / "b.jsonl", [same]), "preferences")
    assert {finding.severity for finding in findings} == {"error"}


def test_swapped_columns_are_a_warning(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"prompt": "Hi", "chosen": "x", "rejected": "y"}])
    swapped = opened(path, "preferences", text_column="rejected", rejected_column="chosen")
    assert codes(swapped.findings) == ["D119"]
    assert opened(path, "preferences", text_column="chosen", rejected_column="rejected").findings == ()


def test_a_reward_model_needs_no_prompt_and_dpo_does(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"chosen": "yes", "rejected": "no"}])
    assert opened(path, "scored").train[0].prompt is None
    assert "D128" in codes(refusal(path, "preferences"))


def test_a_pair_without_a_prompt_is_answered_with_the_text_that_may_be_it(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"info": "What is 2+2?", "chosen": "It is four", "rejected": "No idea"}])
    (finding,) = [finding for finding in refusal(path, "preferences") if finding.code == "D128"]
    assert finding.guess == {"prompt_text_column": "info"}


def test_kto_reads_a_label(tmp_path):
    rows = [{"prompt": "Hi", "completion": "x", "label": label} for label in (True, False)]
    dataset = opened(write(tmp_path / "a.jsonl", rows), "preferences", trainer="kto")
    assert [example.label for example in dataset.train] == [True, False]


# -- bad input -------------------------------------------------------------------------------------------------------------


RAW = {
    "D104": ("a.jsonl", b'{"text": "ok"}\n{"text": "broken" "x": 1}\n'),
    "D105": ("a.jsonl", '{"text": "中文数据"}\n'.encode("gb18030")),
    "D107": ("a.csv", b"text,text\na,b\n"),
    "D110": ("a.jsonl", b'{"x": 1, "y": 2}\n'),
    "D118": ("a.jsonl", b""),
    "D102": ("a.parquet", b"PAR1 and nothing more"),
    "D125": ("a.csv", b"text,id\nunquoted, comma, here,1\n"),
    "D115": ("a.jsonl", b'{"text": "a"}\n{"text": ["b"]}\n'),
    "D116": ("a.jsonl", b'{"messages": [{"role": "usr", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'),
}


@pytest.mark.parametrize("code", RAW)
def test_each_broken_file_is_an_error_with_its_name(code, tmp_path):
    name, content = RAW[code]
    (tmp_path / name).write_bytes(content)
    try:
        findings = opened(tmp_path / name).findings
    except Refused as refused:
        findings = refused.findings
    found = of(findings, code)
    assert found.severity == "error" and name in found.message


def test_a_broken_line_is_named_by_its_number(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "ok"}\n\n{"text": oh}\n[1]\n')
    found = of(opened(tmp_path / "a.jsonl").findings, "D104")
    assert found.line == 3 and "2 lines: 3, 4" in found.message


def test_another_encoding_is_guessed_and_the_byte_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("text\ncafé au lait\n".encode("cp1252"))
    found = of(refusal(tmp_path / "a.csv"), "D105")
    assert "position 8" in found.message and "CP1252" in found.fix


def test_a_byte_order_mark_is_left_out(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\r\nParis\r\n")
    dataset = opened(tmp_path / "a.csv", text_column="text")
    assert dataset.train[0].text == "Paris" and codes(dataset.findings) == ["D106"]


def test_a_named_column_that_is_absent_is_an_error_with_the_nearest_name(tmp_path):
    (tmp_path / "a.csv").write_text(" Text,id\nParis,1\n")
    found = of(refusal(tmp_path / "a.csv", text_column="text"), "D109")
    assert "--text-column" in found.message and "' Text'" in found.fix
    assert opened(tmp_path / "a.csv").train[0].text == "Paris"


def test_all_absent_columns_of_a_pair_are_named_in_one_fix(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"query": "Hi", "response": "Hello", "rejected_response": "No"}])
    findings = refusal(path, "preferences", prompt_column="prompt", text_column="chosen", rejected_column="rejected")
    fix = "--prompt-text-column query --text-column response --rejected-text-column rejected_response"
    assert of(findings, "D109").fix == fix


def test_rows_that_cannot_be_used_are_left_out_and_counted_by_kind(tmp_path):
    rows = [{"text": "a"}, {"text": None}, {"text": ""}, {"text": "  "}, {"text": "b"}]
    dataset = opened(write(tmp_path / "a.jsonl", rows))
    assert [example.row for example in dataset.train] == [1, 5]
    assert of(dataset.findings, "D113").row == 2 and "2 rows: 3, 4" in of(dataset.findings, "D114").message


def test_content_that_is_null_leaves_the_row_out(tmp_path):
    rows = [{"messages": CHAT}, {"messages": [CHAT[0], {"role": "assistant", "content": None}]}]
    dataset = opened(write(tmp_path / "a.jsonl", rows))
    assert len(dataset.train) == 1 and of(dataset.findings, "D117").row == 2


def test_an_unused_column_that_changes_type_is_a_warning(tmp_path):
    dataset = opened(write(tmp_path / "a.jsonl", [{"text": "a", "id": 1}, {"text": "b", "id": "two"}]))
    assert codes(dataset.findings) == ["D112"] and len(dataset.train) == 2


def test_a_misspelt_path_is_never_a_hub_id(tmp_path, monkeypatch):
    write(tmp_path / "train.jsonl", TWO)
    monkeypatch.chdir(tmp_path)
    for name in ("./trian.jsonl", "trian.jsonl", "no/such/folder", str(tmp_path / "gone"), "train2"):
        assert codes(refusal(name)) == ["D101"]
    assert of(refusal("trian.jsonl"), "D101").fix == "--data-path train.jsonl"


def test_a_hub_fault_is_a_finding_with_the_name(monkeypatch):
    import importlib

    class Library:
        disable_progress_bars = staticmethod(lambda: None)

        @staticmethod
        def load_dataset(*args, **kwargs):
            raise ConnectionError("no route")

    monkeypatch.setattr(importlib, "import_module", lambda name: Library)
    assert "owner/name" in of(refusal("owner/name", offline=True), "D126").message


def test_the_splits_of_a_hub_data_set_are_read_like_any_other(monkeypatch):
    import importlib

    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(numbered(4))

    class Library:
        disable_progress_bars = staticmethod(lambda: None)

        @staticmethod
        def load_dataset(name, config, **settings):
            assert (name, config, settings["revision"]) == ("owner/name", "small", "v1")
            return datasets.DatasetDict({"train": rows, "dev": rows.select([0])})

    monkeypatch.setattr(importlib, "import_module", lambda name: Library)
    dataset = opened("owner/name:small", offline=True, revision="v1", valid_split="dev", max_samples=3)
    assert (len(dataset.train), len(dataset.valid)) == (3, 1)
    assert [example.text for example in dataset.train] == [rows[example.row - 1]["text"] for example in dataset.train]


class StreamingHub:
    """The libraries by which rows of the Hub are read, with a set of a thousand rows; `read` are those that were downloaded."""

    def __init__(self, faulty_at: int = 1000) -> None:
        self.datasets = pytest.importorskip("datasets")
        self.read: list[int] = []
        self.faulty_at = faulty_at
        self.HfApi = lambda: self
        self.dataset_info = lambda *names, **settings: None

    def disable_progress_bars(self) -> None: ...

    def rows(self):
        for number in range(1000):
            if number == self.faulty_at:
                raise ConnectionError("the connection was lost")
            self.read.append(number)
            yield {"text": f"row {number}"}

    def load_dataset(self, *names, streaming, **settings):
        assert streaming
        return self.datasets.IterableDatasetDict({"train": self.datasets.IterableDataset.from_generator(self.rows)})

    def installed(self, monkeypatch):
        import importlib

        imported = importlib.import_module
        own = ("datasets", "huggingface_hub")
        monkeypatch.setattr(
            importlib, "import_module", lambda name, *more: self if name in own else imported(name, *more)
        )
        return self


def test_of_a_hub_data_set_no_more_is_downloaded_than_a_shuffled_choice_needs(monkeypatch):
    monkeypatch.setattr("autotrain_llm.data.files.hub.SHUFFLED", 50)
    for most in (3, 900):
        hub = StreamingHub().installed(monkeypatch)
        dataset = opened("owner/name", max_samples=most)
        assert len(dataset.train) == most and most <= len(hub.read) <= most + 51
        assert [e.text for e in dataset.train] != [f"row {number}" for number in range(most)]
    assert opened("owner/name", max_samples=900).fingerprint == dataset.fingerprint
    assert opened("owner/name", max_samples=900, seed=7).fingerprint != dataset.fingerprint


def test_a_download_that_breaks_off_is_a_finding(monkeypatch):
    StreamingHub(faulty_at=2).installed(monkeypatch)
    found = of(refusal("owner/name", max_samples=3), "D126")
    assert found.severity == "error" and "owner/name/train" in found.message and "connection was lost" in found.message


def test_a_named_column_of_numbers_is_an_error_that_says_so(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"id": 1, "text": "a"}])
    found = of(refusal(path, text_column="id"), "D115")
    assert "--text-column" in found.message and found.fix == "--text-column text"


def test_half_a_character_leaves_its_row_out(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "ok"}\n{"text": "cut \\ud83d"}\n')
    dataset = opened(tmp_path / "a.jsonl")
    assert len(dataset.train) == 1 and of(dataset.findings, "D130").row == 2


def test_a_damaged_saved_data_set_is_a_finding(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "dataset_dict.json").write_text("{")
    assert codes(refusal(tmp_path / "saved")) == ["D102"]


def test_a_token_is_neither_shown_nor_part_of_the_fingerprint(tmp_path):
    path = write(tmp_path / "a.jsonl", TWO)
    first, second = DataRequest(str(path), token="hf_secret"), DataRequest(str(path))
    assert "hf_secret" not in repr(first) and open_data(first).fingerprint == open_data(second).fingerprint


def test_codes_stand_with_their_rules_and_nowhere_else():
    import re

    folder = paths.PROJECT / "src" / "autotrain_llm" / "data"
    elsewhere = [path for path in folder.rglob("*.py") if path.parent.name != "rules"]
    assert [path.name for path in elsewhere if re.search(r'"D\d{3}"', path.read_text())] == []


@pytest.mark.parametrize(
    ("turn", "code"),
    [
        ({"role": "user", "content": [{"type": "image", "image": "x.png"}]}, "D127"),
        ({"role": "user", "content": 5}, "D115"),
        ("Hi", "D115"),
        ({"role": "asistant", "content": "x"}, "D116"),
    ],
)
def test_each_fault_of_a_turn_has_its_code(turn, code):
    with pytest.raises(RowUnusable) as caught:
        conversation([turn], "messages")
    (finding,) = findings_of(caught.value.rule, **caught.value.facts)
    assert finding.code == code and "turn 1" in finding.message


# -- splits ----------------------------------------------------------------------------------------------------------------


def numbered(count):
    return [{"text": f"row {number}"} for number in range(count)]


def test_a_hold_out_is_seeded_disjoint_and_of_the_asked_size(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(100))
    first, again, other = (opened(path, valid_split="0.1", seed=seed) for seed in (1, 1, 2))
    assert (len(first.train), len(first.valid)) == (90, 10)
    assert [e.row for e in first.valid] == [e.row for e in again.valid] != [e.row for e in other.valid]
    assert not {e.text for e in first.train} & {e.text for e in first.valid}
    assert len(opened(path, valid_split="7").valid) == 7


def test_identical_rows_never_lie_on_both_sides(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(20) * 3)
    dataset = opened(path, valid_split="0.2")
    assert dataset.valid and not {e.text for e in dataset.train} & {e.text for e in dataset.valid}


def test_rows_that_are_trained_on_and_evaluated_are_a_warning(tmp_path):
    path = write(tmp_path / "train.jsonl", numbered(5))
    shared = write(tmp_path / "eval.jsonl", [{"text": "row 3"}, {"text": "new"}])
    found = of(opened(path, eval_path=str(shared)).findings, "D122")
    assert "eval.jsonl, row 1" in found.message and f"row 4 of {tmp_path}/train.jsonl" in found.message


def test_empty_evaluation_data_is_an_error(tmp_path):
    path = write(tmp_path / "train.jsonl", numbered(5))
    findings = opened(path, eval_path=str(write(tmp_path / "eval.jsonl", [{"text": " "}]))).findings
    assert of(findings, "D121").severity == "error"


def test_one_row_cannot_be_held_out(tmp_path):
    dataset = opened(write(tmp_path / "a.jsonl", numbered(1)), valid_split="0.5")
    assert of(dataset.findings, "D129").severity == "error" and len(dataset.train) == 1


def test_many_duplicates_are_a_warning_and_few_are_not(tmp_path):
    many = opened(write(tmp_path / "a.jsonl", numbered(1) * 50))
    assert of(many.findings, "D123").row == 2
    assert opened(write(tmp_path / "b.jsonl", numbered(50) + numbered(2))).findings == ()


def test_max_samples_are_chosen_by_the_seed_and_keep_their_order(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(99))
    chosen = {seed: [e.row for e in opened(path, max_samples=9, seed=seed).train] for seed in (1, 2)}
    assert all(rows == sorted(set(rows)) and len(rows) == 9 for rows in chosen.values())
    assert chosen[1] != chosen[2] and max(chosen[1]) > 20
    assert chosen[1] == [e.row for e in opened(path, max_samples=9, seed=1).train]
    assert len(opened(path, max_samples=999).train) == 99


@pytest.mark.parametrize("large", [False, True])
def test_a_broken_line_among_the_first_rows_is_an_error_and_one_after_them_is_not_read(large, tmp_path, monkeypatch):
    if large:
        monkeypatch.setattr("autotrain_llm.data.files.stream.LARGE", 0)
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "tw\n{"text": "three"}\n{"text": "fo\n')
    found = of(opened(tmp_path / "a.jsonl", most_rows=2).findings, "D104")
    assert found.severity == "error" and "line 2" in found.message and "line 4" not in found.message
    assert "D104" not in {finding.code for finding in opened(tmp_path / "a.jsonl", most_rows=1).findings}


def test_the_fingerprint_follows_content_and_settings(tmp_path):
    path = write(tmp_path / "a.jsonl", numbered(9))
    first = opened(path).fingerprint
    assert opened(path).fingerprint == first != opened(path, max_samples=3).fingerprint
    write(path, numbered(10))
    assert opened(path).fingerprint != first


# -- real data -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared demo data is not here")
@pytest.mark.parametrize(
    ("name", "rows", "format_name", "count"),
    [
        ("alpaca_en_demo.json", "conversations", "alpaca", 999),
        ("dpo_en_demo.json", "preferences", "preference", 300),
        ("wiki_demo.txt", "documents", "text", 30),
    ],
)
def test_real_data_is_recognised_without_a_word_of_warning(name, rows, format_name, count):
    dataset = opened(SHARED / name, rows)
    assert (dataset.format, len(dataset.train), dataset.findings) == (format_name, count, ())
    assert sum(map(len, texts(dataset))) > 100_000


# ---- what is lost, or not found, without a word


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("rows.jsonl", '{"text": "One."}\n{"text": "lost", "text": "Two."}\n', 2),
        ("rows.jsonl", '[{"text": "One."}, {"text": "lost", "text": "Two."}]', 2),
        ("rows.json", '[{"text": "lost", "text": "One."}, {"text": "Two."}]', 1),
        ("rows.json", '{"data": [{"text": "lost"}], "data": [{"text": "One."}]}', None),
    ],
)
def test_a_key_that_stands_twice_in_an_object_is_refused(tmp_path, name, content, row):
    path = tmp_path / name
    path.write_text(content)
    (finding,) = opened(path).findings
    assert (finding.code, finding.severity, finding.row) == ("D137", "error", row)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", "[" * 100_000),
        ("rows.jsonl", '{"text": ' * 100_000),
        ("rows.jsonl", '{"text": "One."}{"text": ' + "[" * 100_000),
        ("rows.json", "[" * 100_000 + "]" * 100_000),
        ("rows.json", '{"text": ' * 100_000),
    ],
)
def test_json_that_is_nested_without_end_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert "is not valid JSON" in str(refusal(tmp_path / name, "documents"))


def test_a_key_that_stands_in_each_turn_is_no_fault(tmp_path):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert opened(write(tmp_path / "rows.jsonl", [{"messages": turns}])).findings == ()


@pytest.mark.parametrize("named", [{}, {"text_column": "messages"}])
def test_turns_in_a_list_too_many_are_said_with_the_first_such_row(tmp_path, named):
    deep = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]]
    path = write(tmp_path / "rows.jsonl", [{"messages": None}, {"messages": deep}])
    finding = refusal(path, **named)[-1]
    assert (finding.code, finding.row) == ("D115", 2)
    assert "one level too deep" in finding.message


def test_findings_about_columns_name_parameters(tmp_path):
    from autotrain_llm.config.registry import PARAMS

    path = write(tmp_path / "rows.jsonl", [{"a": 1}])
    for rows in ("preferences", "scored", "prompts", "conversations"):
        for finding in refusal(path, rows):
            assert set(finding.parameters) <= set(PARAMS)


def test_turns_that_stand_side_by_side_in_columns_are_turns(tmp_path):
    columns = {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}
    assert opened(write(tmp_path / "rows.jsonl", [{"conversations": columns}])).train[0].messages == CHAT
    uneven = {"from": ["human", "gpt"], "value": ["Hi"]}
    assert refusal(write(tmp_path / "uneven.jsonl", [{"conversations": uneven}]))[0].code == "D116"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("rows.txt", '{"text": "One."}\n{"text": "Two."}\n', "D138"),
        ("rows.csv", '{"text": "One."}\n{"text": "Two."}\n', "D102"),
        ("rows.csv", "\n\ntext\nOne.\n", None),
        ("rows.txt", "{one} brace\n{two}\n", None),
    ],
)
def test_a_name_that_says_something_else_than_the_lines(tmp_path, name, content, code):
    path = tmp_path / name
    path.write_text(content)
    found = refusal(path) if code == "D102" else opened(path).findings
    assert codes(found) == ([code] if code else [])


def test_answers_whose_prompts_are_no_text_are_not_learnt_alone(tmp_path):
    rows = [{"prompt": {"a": 1}, "completion": "one"}, {"prompt": {"a": 2}, "completion": "two"}]
    (finding,) = refusal(write(tmp_path / "rows.jsonl", rows))
    assert (finding.code, finding.row, "prompt (objects with a)" in finding.message) == ("D110", 1, True)


@pytest.mark.parametrize(
    ("rows", "asked", "found"),
    [
        (numbered(8), "0.01", None),
        (numbered(8), "8", 1),
        (numbered(1) * 6 + numbered(2)[1:], "9", 1),
        (numbered(1) * 6, "0.5", None),
    ],
)
def test_the_fix_for_a_hold_out_that_fails_works(rows, asked, found, tmp_path):
    path = write(tmp_path / "a.jsonl", rows)
    findings = [one for one in opened(path, valid_split=asked).findings if one.code == "D129"]
    if found is None:
        assert all("all the same" in one.message and not one.changes for one in findings)
        return
    (finding,) = findings
    share = finding.changes["valid_split"]
    assert share == found and len(opened(path, valid_split=str(share)).valid) > 0
