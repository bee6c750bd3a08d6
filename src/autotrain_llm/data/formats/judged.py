"""Rows with several answers and a judgement of them, as preference pairs: two answers and a column that says which is better, or a list of
answers with a rating of each. Only what the rows say in so many words is read; a number whose direction nobody states is not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from autotrain_llm.data.files.read import Row
from autotrain_llm.data.formats.column_names import CHOSEN, PREFERENCE_LABEL, REJECTED, is_metadata, words_of
from autotrain_llm.data.formats.columns import Columns
from autotrain_llm.data.turns import ROLE_KEYS, ROLES, is_conversation
from autotrain_llm.data.wording import number_of, plain

ANSWERS = re.compile(
    r"response|answer|completion|output|conversation|reply|generation|summary|assistant|text|\bref\Z|_ref\Z"
)
ANSWERS_IN_A_LIST = re.compile(r"response|answer|completion|output|repl(?:y|ies)|generation|summar|candidate")
SIGNS = {"a": "b", "0": "1", "1": "2"}
VERDICT = re.compile(r"winner|prefer|better|best|chosen|choice|verdict|vote|safer|judg")
BETTER = re.compile(r"winner|prefer|better|best|safer|vote")  # the others may name the right one of several choices
# Numbers of which those below 0 are for the first answer and those above for the second, as the data sets that have them document.
SIGNED = ("overall_preference", "preference_strength")
RATING = re.compile(r"(?:\A|_)(?:score|rating|reward|rank|votes|upvotes|elo)(?:_|\Z)")
SIGN_WITHIN = re.compile(r"(.*?)_?((?<![a-z0-9])[ab012]|(?<=[a-z])[012])(?![a-z0-9])_?(.*)")
LIKE_A_NUMBER = re.compile(r"[+_]?\d*\.?\d+")  # with `_` for a minus
OPPOSITES = {
    "chosen": "rejected", "preferred": "dispreferred", "better": "worse", "best": "worst", "good": "bad", "accepted": "rejected", "winner": "loser",
    "winning": "losing",
}  # fmt: skip
ORDER = ("first", "second")
TIES = re.compile(r"tie|both|equal|same|neither|none|draw|unsure|skip")
TEXT_KEYS = ("response", "answer", "completion", "output", "generation", "text", "content")
RATING_KEYS = ("overall_score", "rating", "score", "reward", "rank")
LABEL_KEYS = ("label", "is_correct", "correct", "is_good", "accepted")  # true or false for each answer of a list
LISTS_OF_ANSWERS = (
    "responses", "completions", "answers", "outputs", "generations", "candidates", "generated_responses"
)  # fmt: skip
LISTS_OF_RATINGS = ("ratings", "scores", "rewards", "ranks", "rating", "score", "reward", "rank")

# The better and the worse answer of a row; None if they are judged to be equal, or not judged.
Comparison = Callable[[Row], tuple[Any, Any] | None]


@dataclass(frozen=True)
class JudgedAnswers:
    """How pairs are made of rows: `answers` and `verdicts` are the columns that are read, `keys` what is read of answers that are objects, `how` is the
    choice in words."""

    answers: tuple[str, ...]
    verdicts: tuple[str, ...]
    how: str
    compare: Comparison
    keys: tuple[str, ...] = ()

    def is_none_to_train_on(self, column: str) -> bool:
        """Whether a column is all of the answers together, or the word for the better one, `a` under `winner`, and no answer."""
        return column in self.answers or (column in self.verdicts and BETTER.search(plain(column)) is not None)

    def pair(self, row: Row) -> Row | None:
        """The row with columns `chosen` and `rejected` in place of the answers and their judgement; None without a better answer."""
        sides = self.compare(row)
        if sides is None:
            return None
        others = {name: value for name, value in row.items() if name not in (*self.answers, *self.verdicts)}
        return others | self._left(row) | {"chosen": sides[0], "rejected": sides[1]}

    def _left(self, row: Row) -> Row:
        """What was not read of answers that are objects, as columns `answers.critique`, so that it is named like any other: a value for each answer, or
        the one that all have."""
        left: Row = {}
        for column in self.answers if self.keys else ():
            items = [one for one in row.get(column) or () if isinstance(one, dict)]
            for key in dict.fromkeys(key for one in items for key in one if key not in self.keys):
                values = [one.get(key) for one in items]
                left[f"{column}.{key}"] = values[0] if all(value == values[0] for value in values) else values
        return left


@dataclass(frozen=True)
class Judgement:
    """What says which of two answers is the better one: the columns that say so, how in words, and for a row the sign of that answer (None for a
    tie)."""

    columns: tuple[str, ...]
    how: str
    sign_of: Callable[[Row], str | None]


def judged_answers(columns: Columns, ignored: Collection[str] = ()) -> JudgedAnswers | None:
    """How these rows are made into pairs; None if they have a pair already, or no judgement that can be read without a guess. `ignored` are
    columns that judge nothing."""
    if columns.find(REJECTED) is not None or columns.find(CHOSEN[:4]) is not None:
        return None
    return (
        _two_answers(columns, ignored)
        or _rated_objects(columns)
        or _labelled_objects(columns)
        or _rated_lists(columns)
        or _chosen_of_a_list(columns, ignored)
    )


def signs_of_two_answers(columns: Columns) -> dict[str, str] | None:
    """The columns of two answers by the sign that their names end with: a and b, 0 and 1, or 1 and 2; None if there are not exactly two."""
    by_stem: dict[str, dict[str, str]] = {}
    for name in columns.names:
        match = re.fullmatch(r"(.*?)_?([ab012])", plain(name))
        if match and ANSWERS.search(match[1]) and columns.kind(name) in ("text", "turns", "written turns"):
            by_stem.setdefault(match[1], {})[match[2]] = name
    pairs = [signs for signs in by_stem.values() if _are_two(signs)]
    return dict(sorted(pairs[0].items())) if len(pairs) == 1 else None


def answers_with_signs(columns: Columns) -> list[str]:
    """The two answers that differ in a sign at the end of their names, and others with signs that follow theirs, `response_c`; empty if there are no two."""
    signs = signs_of_two_answers(columns)
    if signs is None:
        return []
    stem = plain(min(signs.values()))[:-1]
    more = [name for name in columns.names if re.fullmatch(rf"{re.escape(stem)}[c-h3-9]", plain(name))]
    others = [name for name in more if plain(name)[-1].isalpha() == min(signs).isalpha()]
    return [*signs.values(), *others]


def opposites(names: Collection[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in a word for better and worse alone, such as `response_better` and `response_worse`."""
    by_words = {tuple(words_of(name)): name for name in names}
    found = []
    for words, name in by_words.items():
        for at, word in enumerate(words):
            opposite = by_words.get((*words[:at], OPPOSITES.get(word, ""), *words[at + 1 :]))
            if opposite is not None:
                found.append((name, opposite))
    return found


def scores_of_pair(columns: Columns, ignored: Collection[str]) -> tuple[str, str] | None:
    """The columns with the scores of a chosen and of a rejected answer, such as `score_chosen` and `score_rejected`; None if there are not exactly two."""
    numbers = [
        name
        for name in columns.names
        if name not in ignored and RATING.search("_".join(words_of(name))) and "rank" not in words_of(name)
        and columns.values[name] and None not in map(number_of, columns.values[name])
    ]  # fmt: skip
    pairs = opposites(numbers)
    return pairs[0] if len(pairs) == 1 else None


def _are_two(signs: Collection[str]) -> bool:
    """Whether these are the signs of two answers."""
    return len(signs) == 2 and SIGNS.get(min(signs)) == max(signs)


def contradiction(columns: Columns, ignored: Collection[str] = ()) -> tuple[Judgement, Judgement, int] | None:
    """Two judgements of two answers that name different ones, and the first row where they do; None if there are none."""
    signs = signs_of_two_answers(columns)
    return None if signs is None else _contradiction_of(_judgements(columns, signs, ignored), columns)


def _contradiction_of(judgements: list[Judgement], columns: Columns) -> tuple[Judgement, Judgement, int] | None:
    for other in judgements[1:]:
        for number, row in enumerate(columns.rows, 1):
            if len({judgements[0].sign_of(row), other.sign_of(row)} - {None}) == 2:
                return judgements[0], other, number
    return None


def _two_answers(columns: Columns, ignored: Collection[str]) -> JudgedAnswers | None:
    """`response_a`, `response_b` and one judgement, or several that agree; the verdict has to name one of the two in every row that is no tie."""
    signs = signs_of_two_answers(columns)
    if signs is None:
        return None
    judgements = _judgements(columns, signs, ignored)
    if not judgements or _contradiction_of(judgements, columns) is not None:
        return None
    (one, first), (_, second) = signs.items()
    echoes = _echoes(columns, signs, judgements[0])
    agreeing = [*(" and ".join(other.columns) for other in judgements[1:]), *echoes]
    how = "; ".join([judgements[0].how, *(f"{names} agrees" for names in agreeing)])

    def compare(row: Row) -> tuple[Any, Any] | None:
        named = {sign for judgement in judgements if (sign := judgement.sign_of(row)) is not None}
        if len(named) != 1 or judgements[0].sign_of(row) is None:
            return None
        return (row.get(first), row.get(second)) if named == {one} else (row.get(second), row.get(first))

    used = [*(column for judgement in judgements for column in judgement.columns), *echoes]
    return JudgedAnswers((first, second), tuple(used), f"{first} against {second}: {how}", compare)


def _judgements(columns: Columns, signs: dict[str, str], ignored: Collection[str]) -> list[Judgement]:
    """Everything that says in so many words which of two answers is better: a name, a flag of each, a rating of each, a number with a sign."""
    one, two = signs
    free = [name for name in columns.names if name not in signs.values() and name not in ignored]
    verdicts = [name for name in free if VERDICT.search(plain(name))]
    flags = {sign: [name for name in verdicts if _is_flag_of(columns, name, sign)] for sign in (one, two)}
    are_flags = all(len(names) == 1 for names in flags.values())
    flagged = [name for names in flags.values() for name in names] if are_flags else []
    named = [name for name in verdicts if name not in flagged and _names_one(columns.values[name], one, two)]
    if not named and one.isalpha():  # letters that are nothing but those of the answers
        others = [name for name in free if not is_metadata(name, "")]
        named = [name for name in others if _names_one(columns.values[name], one, two)]
    found = [Judgement((name,), f"{name} names the better one", _by_name(name, one, two)) for name in named]
    if are_flags and not named:
        found.append(_by_flags(flags[one][0], flags[two][0], one, two, verdicts))
    ratings = _ratings_by_sign(columns, [name for name in free if name not in verdicts])
    found += [_by_rating(rated[one], rated[two], one, two) for rated in ratings if rated.keys() == {one, two}]
    found += [
        Judgement((name,), f"{name} is below 0 where {signs[one]} is better, and above where {signs[two]} is", _by_side(name, one, two))
        for name in free
        if plain(name) in SIGNED and _has_both_sides(columns.values[name])
    ]  # fmt: skip
    return found


def _by_name(verdict: str, one: str, two: str) -> Callable[[Row], str | None]:
    return lambda row: _sign(row.get(verdict), one, two)


def _by_side(number: str, one: str, two: str) -> Callable[[Row], str | None]:
    def sign_of(row: Row) -> str | None:
        value = number_of(row.get(number))
        return None if not value else one if value < 0 else two

    return sign_of


def _has_both_sides(values: list[Any]) -> bool:
    """Whether numbers are below and above 0."""
    numbers = [number_of(value) for value in values]
    known = [number for number in numbers if number is not None]
    return len(known) == len(numbers) > 0 and min(known) < 0 < max(known)


def _by_flags(of_one: str, of_two: str, one: str, two: str, verdicts: list[str]) -> Judgement:
    stem = plain(of_one)[: -len(one)]
    used = tuple(name for name in verdicts if plain(name).startswith(stem[:4]))

    def sign_of(row: Row) -> str | None:
        marks = (_is_on(row.get(of_one)), _is_on(row.get(of_two)))
        return None if marks[0] == marks[1] else one if marks[0] else two

    return Judgement(used, f"{of_one} and {of_two} mark the better one", sign_of)


def _by_rating(of_one: str, of_two: str, one: str, two: str) -> Judgement:
    better = "lower" if "rank" in plain(of_one) else "higher"

    def sign_of(row: Row) -> str | None:
        pair = _best_and_worst([one, two], [row.get(of_one), row.get(of_two)], of_one)
        return None if pair is None else str(pair[0])

    return Judgement((of_one, of_two), f"the one with the {better} of {of_one} and {of_two} is better", sign_of)


def _ratings_by_sign(columns: Columns, names: list[str]) -> list[dict[str, str]]:
    """Columns of numbers that rate an answer each, `score_A` and `score_B` or `response_1_rating` and `response_2_rating`, by the signs of the answers."""
    by_name: dict[str, dict[str, str]] = {}
    for name in names:
        match = SIGN_WITHIN.fullmatch(plain(name))
        without = f"{match[1]}_{match[3]}" if match else ""
        if match and RATING.search(without) and all(number_of(value) is not None for value in columns.values[name]):
            by_name.setdefault(without, {})[match[2]] = name
    return [signs for signs in by_name.values() if _are_two(signs)]


def _echoes(columns: Columns, signs: dict[str, str], judgement: Judgement) -> list[str]:
    """Columns that say the same as a judgement in two values of their own, such as labels of 0 and 1 beside scores."""
    names = [name for name in columns.names if plain(name) in PREFERENCE_LABEL and name not in judgement.columns]
    found = []
    for name in names:
        pairs = {(str(row.get(name)), sign) for row in columns.rows if (sign := judgement.sign_of(row)) is not None}
        if len(pairs) == 2 and len({value for value, _ in pairs}) == 2 and {sign for _, sign in pairs} == signs.keys():
            found.append(name)
    return found


def _sign(value: Any, one: str, two: str) -> str | None:
    """Which of two answers a verdict names, `model_a`, `B`, 1 or `second`; None for a tie."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    words = plain(f"{value:g}" if isinstance(value, float) else str(value))
    if LIKE_A_NUMBER.fullmatch(words) and words not in ("0", "1", "2"):
        return None  # -1 names no answer
    if words.partition("_")[0] in ORDER:
        return (one, two)[ORDER.index(words.partition("_")[0])]
    last = re.fullmatch(r"(?:.*[^a-z0-9])?(?:response|answer|model|option|completion)?([ab012])", words)
    return last[1] if last and last[1] in (one, two) else None


def _names_one(values: list[Any], one: str, two: str) -> bool:
    """Whether every verdict names one of the answers or is a tie, and each of them is named."""
    signs = {_sign(value, one, two) for value in values}
    unnamed = [value for value in values if _sign(value, one, two) is None]
    return {one, two} <= signs and all(isinstance(value, str) and TIES.search(plain(value)) for value in unnamed)


def _is_on(mark: Any) -> bool:
    return mark in (1, "1")


def _is_flag_of(columns: Columns, name: str, sign: str) -> bool:
    """Whether a column has 0 or 1 for whether one answer, the one with this sign, is the better one."""
    values = columns.values[name]
    return (
        re.search(rf"(?:_|\b){sign}\Z", plain(name)) is not None
        and bool(values)
        and all(value in (0, 1, "0", "1") for value in values)
    )


def _rated_objects(columns: Columns) -> JudgedAnswers | None:
    """A list of objects with an answer and its rating in each, as `completions` of UltraFeedback and `answers` of Nectar."""
    found = [
        (name, keys)
        for name in columns.names
        if columns.kind(name) in ("list", "turns") and (keys := _keys_of(columns, name)) is not None
    ]
    if len(found) != 1:
        return None
    column, (text, rating) = found[0]

    def compare(row: Row) -> tuple[Any, Any] | None:
        answers = [one for one in row.get(column) or () if isinstance(one, dict)]
        return _best_and_worst([one.get(text) for one in answers], [one.get(rating) for one in answers], rating)

    return JudgedAnswers((column,), (), _in_words(column, rating), compare, (text, rating))


def _are_turns(objects: list[Any]) -> bool:
    """Whether objects are turns of a conversation: the name of an author makes an answer none."""
    if not is_conversation(objects):
        return False
    words = [
        str(one[key]).strip().lower()
        for one in objects
        if isinstance(one, dict)
        for key in ROLE_KEYS
        if isinstance(one.get(key), str)
    ]
    return not words or not ROLES.keys().isdisjoint(words)


def _key_of_text(objects: list[Any]) -> str | None:
    """The key of the answer in objects; None for anything else, and for turns of a conversation."""
    if not objects or not all(isinstance(part, dict) for part in objects) or _are_turns(objects):
        return None
    return next((key for key in TEXT_KEYS if all(isinstance(part.get(key), str) for part in objects)), None)


def _keys_of(columns: Columns, name: str) -> tuple[str, str] | None:
    """The keys of the answer and of its rating in lists of objects, of which one has several."""
    objects = columns.items(name)
    text = _key_of_text(objects)
    if text is None or max(len(cell) for cell in columns.values[name] if isinstance(cell, list)) < 2:
        return None
    named = [*RATING_KEYS, *(key for key in objects[0] if RATING.search("_".join(words_of(key))))]
    rating = next((key for key in named if all(number_of(part.get(key)) is not None for part in objects)), None)
    return None if rating is None else (text, rating)


def _labelled_objects(columns: Columns) -> JudgedAnswers | None:
    """A list of answers under its usual name, with true or false in each, as `outputs` of sampled solutions."""
    column = columns.find(LISTS_OF_ANSWERS, "list")
    objects = columns.items(column) if column is not None else []
    text = _key_of_text(objects)
    if column is None or text is None:
        return None
    label = next((key for key in LABEL_KEYS if all(type(part.get(key)) is bool for part in objects)), None)
    if label is None:
        return None

    def compare(row: Row) -> tuple[Any, Any] | None:
        answers = [one for one in row.get(column) or () if isinstance(one, dict) and one.get(text)]
        good, bad = ([one[text] for one in answers if one.get(label) is is_good] for is_good in (True, False))
        return (good[0], bad[0]) if good and bad else None

    how = f"the first of {column} with {label} true is chosen, and the first with false rejected"
    return JudgedAnswers((column,), (), how, compare, (text, label))


def _chosen_of_a_list(columns: Columns, ignored: Collection[str]) -> JudgedAnswers | None:
    """A list of two answers, as texts or as objects with one, and a column with the number of the better one, as `summaries` and `choice`."""
    lists = [
        name
        for name in columns.names
        if columns.kind(name) in ("list", "texts") and ANSWERS_IN_A_LIST.search(plain(name))
    ]
    found = [(name, key) for name in lists if (key := _key_of_two(columns, name)) is not None]
    verdicts = [name for name in columns.names if VERDICT.search(plain(name)) and name not in ignored]
    named = [
        (name, first)
        for name in verdicts
        for first in (0, 1)
        if _names_one(columns.values[name], str(first), str(first + 1))
    ]
    if len(found) != 1 or len(named) != 1:
        return None
    (column, key), (verdict, first) = found[0], named[0]

    def compare(row: Row) -> tuple[Any, Any] | None:
        answers = [part.get(key) if isinstance(part, dict) else part for part in row.get(column) or ()]
        sign = _sign(row.get(verdict), str(first), str(first + 1))
        if sign is None or len(answers) != 2:
            return None
        better = int(sign) - first
        return answers[better], answers[1 - better]

    how = f"{verdict} is the number of the better one of {column}, from {first}"
    return JudgedAnswers((column,), (verdict,), how, compare, (key,) if key else ())


def _key_of_two(columns: Columns, name: str) -> str | None:
    """The key of the text in lists of two objects, empty for lists of two texts; None for anything else."""
    parts = columns.items(name)
    if any(not isinstance(cell, list) or len(cell) != 2 for cell in columns.values[name]):
        return None
    return "" if parts and all(isinstance(part, str) for part in parts) else _key_of_text(parts)


def _rated_lists(columns: Columns) -> JudgedAnswers | None:
    """A list of answers, and next to it a list of as many ratings."""
    answers = _ending_with(columns, LISTS_OF_ANSWERS, "texts", "list")
    ratings = _ending_with(columns, LISTS_OF_RATINGS, "list", "texts")
    if (
        answers is None
        or ratings is None
        or not all(_are_parallel(row.get(answers), row.get(ratings)) for row in columns.rows)
    ):
        return None

    def compare(row: Row) -> tuple[Any, Any] | None:
        return _best_and_worst(row.get(answers) or [], row.get(ratings) or [], ratings)

    return JudgedAnswers((answers,), (ratings,), _in_words(answers, ratings), compare)


def _ending_with(columns: Columns, names: Collection[str], *kinds: str) -> str | None:
    """The column under one of these names; else the only one whose name ends with one of them, as `all_generated_responses`."""
    column = columns.find(tuple(names), *kinds)
    ending = [name for name in columns.names if words_of(name)[-1] in names and columns.kind(name) in kinds]
    return column or (ending[0] if len(ending) == 1 else None)


def _are_parallel(answers: Any, ratings: Any) -> bool:
    return (
        isinstance(answers, list)
        and isinstance(ratings, list)
        and len(answers) == len(ratings)
        and all(isinstance(answer, str) for answer in answers)
        and all(number_of(rating) is not None for rating in ratings)
    )


def _in_words(answers: str, rating: str) -> str:
    better = "lowest" if "rank" in plain(rating) else "highest"
    worse = "lowest" if better == "highest" else "highest"
    return f"the one of {answers} with the {better} {rating} is chosen, and the one with the {worse} rejected"


def _best_and_worst(answers: list[Any], ratings: list[Any], name: str) -> tuple[Any, Any] | None:
    """The answers with the best and the worst rating, the first of each; None if all ratings are the same. A rank is better the lower it is."""
    sign = -1 if "rank" in plain(name) else 1
    rated = [(sign * number, answer) for answer, rating in zip(answers, ratings, strict=False)
             if answer and (number := number_of(rating)) is not None]  # fmt: skip
    if len({number for number, _ in rated}) < 2:
        return None
    return max(rated, key=lambda one: one[0])[1], min(rated, key=lambda one: one[0])[1]
