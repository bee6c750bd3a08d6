"""The names under which columns of each role are usual. Names are compared without case, and with `_` for spaces and dashes."""

from __future__ import annotations

import re
from typing import Any

from autotrain_llm.data.turns import parsed
from autotrain_llm.data.wording import plain

# Question and answer in the languages in which people name columns after them.
QUESTION_WORDS = (
    "frage", "pregunta", "pergunta", "domanda", "vraag", "fråga", "spørsmål", "pytanie", "otázka", "soru", "вопрос", "питання", "سؤال",
    "प्रश्न", "pertanyaan", "câu_hỏi", "问题", "問題", "提问", "质问", "質問", "指令", "질문"
)  # fmt: skip
ANSWER_WORDS = (
    "antwort", "respuesta", "resposta", "risposta", "réponse", "reponse", "antwoord", "svar", "odpowiedź", "odpověď", "cevap", "ответ",
    "lösung", "solución", "solução", "soluzione", "відповідь", "جواب", "उत्तर", "jawaban", "trả_lời", "câu_trả_lời", "答案", "回答", "输出", "答え", "답변"
)  # fmt: skip
MESSAGES = (
    "messages", "conversations", "conversation", "chat", "dialogue", "dialog", "dialogs", "dialogues", "turns", "utterances",
    "contents", "mapping", "history"
)  # fmt: skip
TEXT = ("text", "content", "document", "body", "article", "story", "passage", "code", "raw_content", "sentence")
PROMPT = (
    "prompt", "question", "query", "instruction", "input", "inputs", "problem", "user", "human", "source", "request", "input_text",
    "context", "ctx", "anchor", *QUESTION_WORDS
)  # fmt: skip
COMPLETION = (
    "completion", "response", "answer", "output", "target", "solution", "reply", "assistant", "gpt", "target_text",
    "output_text", "answers", "targets", "generation", "correct_answer", "final_answer", "generated_solution", "answerkey", "answer_key",
    "summary", "highlights", "outputs", "correct_option", "correct_choice", "correct_index", "cop", *ANSWER_WORDS
)  # fmt: skip
CHOSEN = (
    "chosen", "chosen_response", "response_chosen", "chosen_text", "preferred", "preferred_output", "accepted", "winner",
    "good", "better", "positive", "response_j", "answer_chosen", "response", "completion", "answer", "output"
)  # fmt: skip
REJECTED = (
    "rejected", "rejected_response", "response_rejected", "rejected_text", "dispreferred", "non_preferred_output", "loser",
    "bad", "worse", "negative", "response_k", "answer_rejected", "rejected_answer"
)  # fmt: skip
# The answer that another is compared with; where nothing else answers the turns of a row, it is the answer.
IDEAL = (
    "ideal", "reference", "reference_answer", "ground_truth", "expected", "expected_output", "expected_answer", "gold_answer"
)  # fmt: skip
REFERENCE = tuple(dict.fromkeys((*COMPLETION, *CHOSEN, *IDEAL)))
LABEL = ("label", "kto_tag", "desirable", "is_desirable", "thumbs_up")
# What people write for a good and for a bad answer, in the same order.
GOOD = (
    "true", "yes", "y", "1", "good", "up", "thumbs_up", "thumbsup", "like", "liked", "positive", "pos", "correct", "right", "accepted", "accept",
    "approved", "approve", "chosen", "desirable", "helpful", "safe", "pass", "passed", "success", "👍", "✅",
)  # fmt: skip
BAD = (
    "false", "no", "n", "0", "bad", "down", "thumbs_down", "thumbsdown", "dislike", "disliked", "negative", "neg", "incorrect", "wrong", "rejected",
    "reject", "disapproved", "disapprove", "undesirable", "unhelpful", "unsafe", "fail", "failed", "failure", "👎", "❌",
)  # fmt: skip
JUDGEMENT = (
    "labels", "is_correct", "correct", "is_good", "is_accepted", "verified", "value", "values", "step_labels", "step_rewards", "step_scores",
    "completion_ratings", "reward", "rewards", "feedback",
)  # fmt: skip
# What other tools give to the chat template or take into the loss, row by row, without any text in it.
SETTINGS = (
    "chat_template_kwargs", "template_kwargs", "enable_thinking", "thinking_budget", "margin", "advantage", "advantages"
)  # fmt: skip
# Several scores of an answer in one cell, and its class.
SCORES = ("scores", "score", "ratings", "rating", "attributes", "rewards", "labels", "grades")
CLASS = ("label", "class", "class_name", "class_label", "category", "labels", "rating", "score", "grade")
QUESTIONS = ("prompt", "question", "query", "instruction", "problem", "user", "human", "request", *QUESTION_WORDS)
# Rows that are tokens already: their ids, which of them are trained on, and which are no padding.
TOKEN_IDS = ("input_ids", "token_ids", "tokens")
TOKEN_LABELS = ("labels",)
TOKEN_MASK = (
    "loss_mask", "completion_mask", "assistant_masks", "assistant_mask", "assistant_tokens_mask", "response_mask", "train_mask"
)  # fmt: skip
ATTENTION_MASK = ("attention_mask",)
TOKENISED = (*TOKEN_IDS, *TOKEN_LABELS, *ATTENTION_MASK)
# What tokenizers and packing write beside them, and training needs not.
BESIDE_TOKENS = ("token_type_ids", "special_tokens_mask", "offset_mapping", "word_ids", "overflow_to_sample_mapping")

# What belongs to a prompt beside the question.
SYSTEM = (
    "system", "system_prompt", "system_message", "system_instruction", "systeminstruction", "system_content", "system_text",
    "sys_prompt", "sys", "meta_instruction"
)  # fmt: skip
HISTORY = (
    "history", "chat_history", "conversation_history", "dialog_history", "dialogue_history", "message_history",
    "previous_messages", "previous_turns", "past_turns"
)  # fmt: skip
TOOLS = (
    "tools", "functions", "available_tools", "tool_definitions", "function_definitions", "function_declarations", "functiondeclarations",
)  # fmt: skip
TOOL_CONFIG = ("toolconfig", "tool_config")  # of Bedrock, with the tools inside
INPUT = ("input", "inputs", "instruction_input", "input_context")
CONTEXT = (
    "definition", "task_definition", "context", "contexts", "ctx", "ctxs", "context_text", "passage", "passages", "document", "documents", "docs", "article",
    "paragraph", "paragraphs", "background", "evidence", "references", "retrieved", "retrieved_documents",
    "search_results", "table", "schema", "sql_context", "story", "text", "body", "premise"
)  # fmt: skip
CHOICES = ("choices", "options", "candidates", "endings", "answer_choices", "multiple_choice_targets")
# One column for each choice: A, B, C …, option_a …, choice1 …, ending0 ….
ONE_CHOICE = re.compile(r"(?:(?:option|choice|opt|op|ending|sol(?=_?\d))_?)?([a-h]|\d)\Z")
# A mask beside the turns: whether each is trained on.
TURN_MASK = ("loss_mask", "train_mask", "turn_mask", "loss_masks")
WEIGHT = ("weight", "weights", "sample_weight", "loss_weight", "loss_scale")

# Metadata: where a row is from and how it is sorted, and not what a model learns.
METADATA_NAMES = """
id ids _id uid uuid guid idx index key row row_id row_idx qid pid question_id prompt_id conversation_id message_id example_id sample_id
problem_id task_id doc_id document_id user_id session_id thread_id chat_id record_id item_id hash sha sha256 md5 url urls uri link links
source sources source_url src dataset dataset_name data_source origin provenance corpus split subset config lang language languages locale
date datetime created created_at created_utc updated updated_at timestamp time year author authors user_name username annotator annotator_id reviewer submitter versions doi
model model_name models generator engine license licence category categories subcategory sub_category topic topics subtopic domain subject
subjects field tag tags keywords type types kind task tasks task_type task_name question_type answer_type difficulty level grade score
scores rating ratings quality version meta metadata meta_data info extra_info file files file_name filename path filepath repo repo_name
repository truncated_cells num_tokens token_count n_tokens length word_count char_count stars likes upvotes score_chosen score_rejected
language_code lang_id country state header toxicity is_toxic nsfw perplexity finish_reason stop_reason temperature seed
"""
METADATA = frozenset(METADATA_NAMES.split())
SHORT, FEW = 120, 6  # characters and words that metadata has at most
METADATA_NAME = re.compile(
    r"(?:^|_)(?:id|ids|type|types|model|models|category|lang|language|source|url|name|hash|ip|date|time|license|copyright|configs?|version|"
    r"count|tokens?|length|scores?|rank|level|domain|subject|from|by|index|num|number|quality|difficulty|status|split|metadata|meta)\Z"
)
# Where a row is from, who wrote it and when: names of persons, models and places, of which a phrase has more words.
ORIGIN = re.compile(
    r"(?:^|_)(?:id|ids|uuid|guid|hash|sha256|url|urls|uri|links?|source|sources|dataset|origin|provenance|corpus|split|subset|config|date|datetime|time|"
    r"timestamp|created(?:_at|_utc)?|updated(?:_at)?|year|authors?|user(?:_name)?|username|annotator|reviewer|submitter|model(?:_name|s)?|generator|engine|"
    r"licen[cs]e|versions?|doi|files?|file_?name|path|file_?path|repo(?:_name|sitory)?|seed|temperature|scores?|ratings?|quality|by|from|country|state|key|"
    r"dataset_name|source_name|(?:finish|stop)_reason)\Z"
)
WORDS_OF_A_PHRASE, WORDS_OF_A_TITLE = 3, 2
# The language that is asked for, which a prompt without it doesn't say.
LANGUAGE_OF_THE_ANSWER = re.compile(r"(?:\A|_)(?:target|tgt|to|output|dest|destination)_?lang(?:uage)?(?:_|\Z)")
WORD = re.compile(r"[^\W\d_]{2,}(?:['’-][^\W\d_]+)*[.,;:!?]*")
BETWEEN_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]{8,}"
)  # of a language without spaces between its words
LIKE_A_CODE = re.compile(r"[\w.:;/\\#@$&%+=~?!*,|<>-]+", re.ASCII)
# The row that comes before this one in a conversation of several rows.
LINKS = ("parent_id", "parent_message_id", "reply_to", "in_reply_to", "previous_id")
# What people write of an answer that they have judged; words that say the same of anything else are neutral, and so are those for no judgement.
NEUTRAL_WORDS = frozenset(
    (
        "true", "false", "yes", "no", "y", "n", "1", "0", "-1", "1.0", "0.0", "up", "down", "safe", "unsafe", "ignore", "skip", "none", "neutral",
        "unsure",
    )
)  # fmt: skip
VERDICT_WORDS = (
    frozenset((*GOOD, *BAD, "thumbs up", "thumbs down")) - NEUTRAL_WORDS - {"positive", "pos", "negative", "neg"}
)
JUDGES = re.compile(
    r"(?:\A|_)(?:feedback|ratings?|rated|quality|correct|accepted|approved|rejected|thumbs?|votes?|voted|liked?|likes|good|helpful|"
    r"judge?ments?|verdict|score|scores|passed|is_ok|ok)(?:_|\Z)"
)
# How long an answer may be, and how many parts it has.
LIMIT = re.compile(
    r"\A(?:max|min|maximum|minimum|target|desired|required|requested|wanted)_(?:\w+_)?(?:words?|tokens?|chars?|characters?|lines?|sentences?|paragraphs?|"
    r"length|len|items?|syllables?)\Z|(?:_|\A)(?:words?|char|character|length|line|sentence)_(?:limit|max|min|budget)\Z"
)
COUNT = re.compile(
    r"(?:\A|_)(?:num|number|n|count|how_many)_|_count\Z|(?:\A|_)(?:words|lines|sentences|paragraphs|verses|length)\Z"
)
# What only a model of images or sounds could read.
MEDIA_NAMES = """
image images img image_path image_paths image_url picture pictures photo audio audios video videos pixel_values
"""
MEDIA = frozenset(MEDIA_NAMES.split())
# Which of two answers is the better one, as a column beside them.
PREFERENCE_LABEL = (
    "label", "labels", "winner", "preference", "overall_preference", "individual_preference", "better_response_id",
    "safer_response_id", "preferred", "choice"
)  # fmt: skip
# Which of two answers, as the value of a column that says which is better; and a name that says so of an answer itself.
A_SIDE = re.compile(
    r"(?:(?:the )?(?:model|response|answer|completion|option|assistant|output)[\s_-]*)?[ab12]|tie|draw|equal|left|right|first|second|neither|both(?:[\s_-]\w+)?"
)
SAYS_IT_IS_BETTER = re.compile(
    r"chosen|prefer|accept|reject|better|worse|best|worst|good|bad|winn|win\b|los(?:e|er|ing)\b|positive|negative|correct|response_[jk]\b"
)
# Thoughts and judgements of an answer, which must not stand before the question.
OF_THE_ANSWER = re.compile(
    r"answer|response|output|completion|solution|summary|highlight|reason|rationale|explanation|cot\b|_cot|think|thought|critique|"
    r"reject|chosen|feedback|justif|verdict|judge|unit_test|candidate|grade|review_|label|target|preference|analysis|score|proof|"
    r"generation|attempt|trajector|decision|conclusion|verif|gold|ground_truth|checker|test_case"
)
REASONING = re.compile(
    r"\A(?:\w+_)?(?:reasoning|thinking|thoughts?|cot|chain_of_thought|rationale|scratchpad|reasoning_(?:content|trace|steps|chain)|thinking_trajector(?:y|ies))\Z"
)
# Wrong answers, which may be as short as a code.
WRONG_ANSWERS = re.compile(r"distractor|wrong|incorrect")
INSIDE = frozenset((*SYSTEM, *HISTORY, *TOOLS, *INPUT, *CONTEXT, *CHOICES, *QUESTIONS, *COMPLETION, *MESSAGES)) - {
    "source",
    "text",
}


def words_of(name: str) -> list[str]:
    """The words of a column's name, also where capitals divide them."""
    return plain(BETWEEN_WORDS.sub("_", name.strip())).split("_")


def is_good(value: Any) -> bool | None:
    """Whether a label says that an answer is good: true or false, 1 or 0, or a word for one of them; None if it says neither."""
    word = plain(f"{value:g}" if isinstance(value, float) else str(value))
    return True if word in GOOD else False if word in BAD else None


def is_phrase(text: str, least: int = WORDS_OF_A_PHRASE) -> bool:
    """Whether a text is written in words, at least as many as a phrase has; a date, an address or the name of a file is not."""
    words = text.split()
    written = sum(WORD.fullmatch(word.strip('()[]"“”«»')) is not None for word in words)
    return (written >= least and written * 2 > len(words)) or UNSPACED.search(text) is not None


def is_metadata(name: str, value: Any) -> bool:
    """Whether a column only identifies or sorts a row: by its name, or because the value looks like an id, a path or a code."""
    name = "_".join(words_of(name.rpartition(".")[2]))
    is_named_so = name in METADATA or METADATA_NAME.search(name) is not None
    if LANGUAGE_OF_THE_ANSWER.search(name) is not None:
        return False
    if name in MEDIA or name in COMPLETION or name in REJECTED:
        return False
    if is_named_so and isinstance(value, str) and value.lstrip()[:1] == "{":
        value = parsed(value)
    if isinstance(value, str):
        if is_named_so:
            return len(value) <= SHORT and len(value.split()) <= FEW
        if WRONG_ANSWERS.search(name):
            return False
        word = value.strip(".,;:!?'\"()[]")
        return not word.isalpha() and LIKE_A_CODE.fullmatch(word) is not None
    if not is_named_so:
        return False
    if isinstance(value, dict) and any(plain(str(key)) in INSIDE or is_phrase(str(key)) for key in value):
        return False
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(not isinstance(part, str | list | dict) or is_metadata(name, part) for part in parts)
