"""`--trainer reward` as a user meets it: rows as they are read, the guide's commands, inference, the card and the report."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from autotrain_llm import check, plan
from autotrain_llm.cli.main import main
from autotrain_llm.config.resolved import resolve
from autotrain_llm.context.run_context import RunContext
from autotrain_llm.data.tokenizer.tokenizer import Tokenizer
from autotrain_llm.declare.finding import Refused
from autotrain_llm.models.classifiers import classifier_of, has_classifier
from support.light_models import build_light_model
from support.reward_models import build_bert, pair
from support.rows import write_rows


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "pairs.jsonl", [pair(number) for number in range(46)])


def rows_of(data: Path, model: Path, **flags: Any) -> list[tuple[list[int], list[int]]]:
    """Each pair's ids, as the model will be called with them."""
    said = {"trainer": "reward", "model": str(model), "data_path": str(data), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    context = RunContext(resolve({**said, **flags}))
    prepared = context.prepared
    assert prepared is not None, context.findings
    parts = zip(prepared.train.prompt, prepared.train.chosen, prepared.train.rejected, strict=True)
    return [([*prompt, *chosen], [*prompt, *rejected]) for (prompt, _), (chosen, _), (rejected, _) in parts]


# --- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("columns", [{}, {"prompt_text_column": "prompt"}])
def test_rows_are_what_the_tokenizer_makes_of_the_text(
    kind: str,
    columns: dict[str, str],
    llama: Path,
    bert: Path,
    pairs: Path,
) -> None:
    model = {"llama": llama, "bert": bert}[kind]
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    expected = [
        tuple(tokenizer(row["prompt"] + row[side])["input_ids"] for side in ("chosen", "rejected")) for row in rows
    ]
    assert rows_of(pairs, model, **columns) == expected


def conversation(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Which colour?"}, {"role": "assistant", "content": answer}]


def test_a_conversation_is_what_the_chat_template_makes_of_it_to_its_very_end(llama: Path, tmp_path: Path) -> None:
    template = tmp_path / "lines.jinja"
    template.write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>\n\n{% endfor %}")
    sides = {"chosen": conversation("Red."), "rejected": conversation("Blue, blue.")}
    data = write_rows(tmp_path / "chats.jsonl", [sides])
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.chat_template = template.read_text()
    (row,) = rows_of(data, llama, chat_template=str(template))
    for ids, side in zip(row, ("chosen", "rejected"), strict=True):
        assert ids == tokenizer.apply_chat_template(sides[side], return_dict=False)


def test_an_encoder_reads_a_conversation_between_its_own_marks(bert: Path, tmp_path: Path) -> None:
    sides = {"chosen": conversation("Red."), "rejected": conversation("Blue.")}
    data = write_rows(tmp_path / "chats.jsonl", [sides])
    tokenizer = AutoTokenizer.from_pretrained(bert)
    (row,) = rows_of(data, bert, chat_template="vicuna")
    for ids in row:
        assert ids[0] == tokenizer.cls_token_id
        assert ids[-1] == tokenizer.sep_token_id
        assert ids.count(tokenizer.sep_token_id) == 1


def test_a_row_that_is_too_long_for_an_encoder_keeps_both_marks_and_the_end_of_its_prompt(bert: Path, tmp_path: Path) -> None:  # fmt: skip
    rows = [
        {"prompt": "one " * 40 + "two", "chosen": " red", "rejected": " blue " * 40},
        {"prompt": "one", "chosen": " red " * 40, "rejected": " blue"},
    ]
    data = write_rows(tmp_path / "long.jsonl", rows)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    prepared = rows_of(data, bert, prompt_text_column="prompt", block_size=20)
    for row in prepared:
        for ids in row:
            assert len(ids) <= 20
            assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
            assert ids.count(tokenizer.sep_token_id) == 1
    assert "two red" in tokenizer.decode(prepared[0][0])
    assert "one red" in tokenizer.decode(prepared[1][0])


def test_a_tokenizers_marks_are_those_of_encoders_alone(llama: Path, bert: Path) -> None:
    assert Tokenizer.load(llama).special_tokens == ([], [])
    assert Tokenizer.load(bert).special_tokens == ([2], [3])


# --- what can be scored ----------------------------------------------------------------------------------------------


def test_the_table_of_classifiers_is_that_of_the_installed_library() -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as TABLE

    assert all(classifier_of(kind) == name for kind, name in TABLE.items())
    assert not has_classifier("cohere")


def test_an_architecture_without_a_classifier_is_refused_and_one_with_it_is_not(tmp_path: Path, pairs: Path) -> None:  # fmt: skip
    flags = {"trainer": "reward", "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    granite = build_light_model(tmp_path / "granite", model_type="granite", architectures=["GraniteForCausalLM"])
    assert [finding.code for finding in check(**flags, model=str(granite))] == ["M143"]
    qwen = build_light_model(tmp_path / "qwen", model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    assert [finding.code for finding in check(**flags, model=str(qwen))] == []


@pytest.mark.parametrize(("kind", "settings", "longest"), [("bert", {}, 512), ("roberta", {"pad_token_id": 1}, 510)])
def test_rows_fit_the_positions_of_an_encoder(kind: str, settings: dict[str, Any], longest: int, tmp_path: Path, pairs: Path) -> None:  # fmt: skip
    model = build_light_model(
        tmp_path / kind, model_type=kind, architectures=["M"], max_position_embeddings=512, **settings
    )
    flags = {"trainer": "reward", "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    made = plan(**flags, model=str(model))
    assert made.length.tokens == longest
    assert made.layout.name == "padded"
    assert "encoder" in made.layout.why
    too_long = check(**flags, model=str(model), block_size=longest + 1)
    assert [finding.code for finding in too_long] == ["M171"]


def test_the_plan_says_where_the_head_comes_from(light_scorer: Path, light_llama: Path, pairs: Path) -> None:  # fmt: skip
    flags = {"trainer": "reward", "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    assert plan(**flags, model=str(light_scorer)).model.head == "kept"
    new = plan(**flags, model=str(light_llama))
    assert new.model.head == "new"
    assert ("LlamaForSequenceClassification with a new score head" in str(new.summary())) is True


def test_several_labels_are_refused(light_llama: Path, pairs: Path) -> None:
    flags = {"trainer": "reward", "data_path": str(pairs), "lr": 1e-5, "epochs": 1, "batch_size": 4}
    with pytest.raises(Refused, match="1 score"):
        plan(**flags, model=str(light_llama), num_labels=2)


# --- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["", "--rejected-text-column rejected", "--rejected-text-column rejected --peft --lora-r 8"])  # fmt: skip
def test_the_commands_of_the_guide_train_an_encoder(more: str, bert: Path, pairs: Path, tmp_path: Path, capsys: Any) -> None:  # fmt: skip
    words = f"llm --trainer reward --model {bert} --data-path {pairs} --lr 2e-5 --epochs 3 --batch-size 16 {more}"
    assert main(shlex.split(f"{words} --output-dir {tmp_path / 'run'}")) == 0
    said = capsys.readouterr()
    assert "it scores texts and does not generate" in said.out
    assert "Warning" not in said.err
    card = (tmp_path / "run" / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "does not generate" in card
    assert ("num_labels=1" in card) == ("--peft" in more)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["status"] == "ok"
    assert document["plan"]["model"]["architecture"] == "BertForSequenceClassification"


def test_the_code_of_the_card_gives_scores(bert: Path, pairs: Path, tmp_path: Path, capsys: Any) -> None:
    words = f"llm --trainer reward --model {bert} --data-path {pairs} --lr 2e-5 --max-steps 2 --batch-size 16 --peft"
    assert main(shlex.split(f"{words} --output-dir {tmp_path / 'run'}")) == 0
    card = (tmp_path / "run" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "card", "exec"), names)
    assert names["scores"].shape == (2,)
    capsys.readouterr()


def test_pairs_written_as_sharegpt_train_a_new_model_with_the_required_flags_alone(tmp_path: Path) -> None:
    rows = []
    for number in range(40):
        asked = [{"from": "human", "value": pair(number)["prompt"] * (1 + number % 7)}]
        sides = {side: {"from": "gpt", "value": pair(number)[side]} for side in ("chosen", "rejected")}
        rows.append({"conversations": asked, **sides})
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    words = f"llm --trainer reward --model scratch:100k --data-path {tmp_path / 'pairs.json'} --lr 1e-3 --batch-size 2"
    assert main(shlex.split(f"{words} --max-steps 3 --output-dir {tmp_path / 'run'}")) == 0
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
    assert model.config.num_labels == 1


@pytest.mark.parametrize("kind", ["llama", "bert"])
@pytest.mark.parametrize("lora", ["", "--peft"])
def test_inference_prints_the_scores_that_the_library_gives(kind: str, lora: str, llama: Path, bert: Path, pairs: Path, tmp_path: Path, capsys: Any) -> None:  # fmt: skip
    model = {"llama": llama, "bert": bert}[kind]
    words = f"llm --trainer reward --model {model} --data-path {pairs} --lr 1e-3 --max-steps 3 --batch-size 16 {lora}"
    assert main(shlex.split(f"{words} --output-dir {tmp_path / 'run'}")) == 0
    texts = [pair(number)["prompt"] + pair(number)["chosen"] for number in range(3)] + ["It is red."]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    capsys.readouterr()
    command = f"llm --inference --model {tmp_path / 'run'} --mixed-precision fp32 --format json --prompts "
    assert main(shlex.split(command + str(tmp_path / "texts.txt"))) == 0
    printed = [answer["score"] for answer in json.loads(capsys.readouterr().out)["answers"]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    scorer = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "run"), num_labels=1).eval()
    with torch.no_grad():
        alone = [scorer(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]
    assert printed == pytest.approx(alone, abs=1e-4)
    rows = [{"prompt": pair(0)["prompt"], "completion": pair(0)["chosen"]}, {"prompt": "It is", "completion": " red."}]
    assert main(shlex.split(command + str(write_rows(tmp_path / "rows.jsonl", rows)))) == 0
    again = [answer["score"] for answer in json.loads(capsys.readouterr().out)["answers"]]
    assert again == pytest.approx([alone[0], alone[3]], abs=1e-4)


def test_inference_scores_a_conversation_with_its_answer(llama: Path, tmp_path: Path, capsys: Any) -> None:
    rows = [{"chosen": conversation("Red."), "rejected": conversation("Blue, blue.")} for _ in range(4)]
    data = write_rows(tmp_path / "chats.jsonl", rows)
    words = f"llm --trainer reward --model {llama} --data-path {data} --lr 1e-3 --max-steps 3 --batch-size 4"
    assert main(shlex.split(f"{words} --output-dir {tmp_path / 'run'}")) == 0
    asked = write_rows(
        tmp_path / "asked.jsonl", [{"messages": conversation("Red.")}, {"messages": conversation("Blue.")}]
    )
    capsys.readouterr()
    assert main(shlex.split(f"llm --inference --model {tmp_path / 'run'} --format json --prompts {asked}")) == 0
    printed = [answer["score"] for answer in json.loads(capsys.readouterr().out)["answers"]]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run").eval()
    inputs = [tokenizer.apply_chat_template(conversation(answer), return_tensors="pt") for answer in ("Red.", "Blue.")]
    with torch.no_grad():
        expected = [scorer(**ids).logits.item() for ids in inputs]
    assert printed == pytest.approx(expected, abs=1e-3)
