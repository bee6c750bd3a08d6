"""What each finding about data means, for `--explain`."""

from __future__ import annotations

EXPLANATIONS = {
    "D101": "There is no file or folder under the name that was given. A name with a dot, a leading slash or a data suffix is never looked "
    "for on the Hub.",
    "D102": "A file can't be read: no rights, a damaged archive, a format that is not known here, or something else than its name says: a "
    "Git LFS pointer that was never replaced by the file, a page of HTML, an archive.",
    "D103": "The chosen and the rejected answer of a row are the same, but for spaces around them or at the ends of lines: there is nothing to "
    "prefer. Such rows are left out.",
    "D104": "A line is not valid JSON, or a row of a CSV file can't be parted into cells. Nothing is trained on a file with broken lines, "
    "because what else is lost can't be known.",
    "D105": "A file is not UTF-8. The finding names the first byte that isn't, and the encoding that the file was probably saved in.",
    "D106": "A file starts with a byte order mark. It is left out, so that the first column keeps its name.",
    "D107": "Two columns have the same name: which one would be read depends on the reader.",
    "D108": "The data has no split of the name that was asked for.",
    "D109": "A column that a flag names is not in the data. Names are compared exactly, spaces and case included.",
    "D110": "No usual format fits the columns. Columns can always be named with flags.",
    "D111": "The rows are token ids. Whose tokenizer made them can't be known, so they are not trained on.",
    "D112": "A column that is not used holds different types. It does no harm here; other tools refuse such a file.",
    "D113": "A cell that has to hold text is null. The row is left out.",
    "D114": "A cell that has to hold text is empty. The row is left out.",
    "D115": "A cell holds another type than the trainer reads.",
    "D116": "A turn of a conversation has a role that is not known.",
    "D117": "A turn of a conversation has neither content nor tool calls. The row is left out.",
    "D118": "Nothing is left that can be trained on.",
    "D119": "By their names, the columns for chosen and rejected answers are swapped. It runs, and teaches the opposite.",
    "D120": "Both answers repeat their prompt. It is taken out of both, or it would be trained on. Where only one does, that alone tells them apart.",
    "D121": "The evaluation data has no usable row.",
    "D122": "Rows of the evaluation data are trained on, too. Scores on them say nothing about new data.",
    "D123": "A large share of the rows repeats earlier ones exactly.",
    "D124": "The prompt is text and the answers are turns, or one answer is text and the other is turns. A text is taken as one turn.",
    "D125": "A row of a CSV file has more or fewer cells than its header.",
    "D126": "A data set can't be loaded from the Hub: its name, the network, or access to it.",
    "D127": "A turn holds something that is not text, such as an image. The row is left out.",
    "D128": "A preference row has no prompt, neither in a column nor at the beginning of both answers.",
    "D129": "That many rows can't be held out for evaluation.",
    "D130": "A text holds half a character, as a text cut in the middle of a JSON escape does. The row is left out.",
    "D132": "The first line of a CSV file names the columns, and here it looks like a row: the file has no header. Its first row would be lost.",
    "D133": "The turns of a conversation stand in an order that chat models don't know: two of the user or of the assistant in a row, a system turn "
    "that is not the first, or a last turn of the user that nothing answers. The row is learnt as it is.",
    "D134": "The rows to evaluate on are plain text and those to train on have answers, or the other way round: a loss on the one says little about "
    "the other.",
    "D135": "All answers have the same label. What a good answer is can only be learnt beside bad ones.",
    "D136": "The chat template leaves out what a turn of system or user says, so that the model never sees it.",
    "D137": "An object of a JSON row has the same key twice. Of the two values readers keep one and lose the other without a word.",
    "D138": "A plain text file whose lines are objects of JSON. It is learnt letter by letter, braces and all, unless its name says what it is.",
    "D140": "Conversations need a chat template to be written as text, and the tokenizer has none.",
    "D141": "The chat template that was asked for doesn't exist or is not valid.",
    "D142": "`--chat-template none` with rows that are conversations.",
    "D143": "A chat template was asked for and the rows are plain text: it is never applied.",
    "D144": "`--response-only-loss` with plain text, where nothing tells prompt and answer apart.",
    "D145": "A chat template ends turns with a token that the tokenizer doesn't have. It is trained on as plain text: slower, and it works.",
    "D146": "The chat template refuses a conversation, with its own words: two turns of one role in a row, a system turn, a missing turn.",
    "D147": "A conversation has no answer to learn, and is left out; or one of its answers is empty, which teaches to say nothing.",
    "D148": "The chat template changes a turn depending on what follows, in a way that hides where its answer lies, or writes nothing of it.",
    "D131": "The chat template writes neither the tools of a conversation nor the calls of its turns. What it leaves out can't be learnt, and a "
    "turn that is nothing but a call becomes an empty answer.",
    "D149": "A text begins with the token that the tokenizer puts first of its own accord. It is kept once.",
    "D150": "`--add-eos-token` with texts that already end with that token. It is not added twice. Or an answer of a conversation ends with the token "
    "that the chat template writes behind it.",
    "D151": "A row is longer than the limit that was given. Its end is cut off.",
    "D152": "After cutting, nothing of a row is left to learn. The row is left out.",
    "D153": "One row is far longer than the others, and decides how much memory is needed.",
    "D155": "Nothing marks where a text ends: a model trained so doesn't learn to stop.",
    "D156": "No row has anything to learn.",
    "D157": "No row is trained on the token that ends an answer, as where a chat template's own marks leave it out: the model learns to answer "
    "and not to stop. Rows that were cut short are not counted.",
    "D161": "A large share of the rows is nearly an earlier one: nine of ten runs of five words are in both. What a tenth of all rows share is "
    "left out of the comparison, and so are rows with fewer than twenty runs besides. Of more than 4000 rows, as many are drawn with the seed.",
    "D162": "Rows of the evaluation data are nearly rows that are trained on, compared as for D161. Scores on them say little about new data.",
    "D163": "Two rows judge the same thing in opposite ways: of the same two answers to a prompt each is preferred once, or an answer is labelled "
    "both good and bad. What is learnt from one is unlearnt from the other.",
    "D164": "A share of the rows holds letters that were lost or mangled before the file was written: replacement characters, nulls, or UTF-8 that was "
    "read as another encoding (\u00c3\u00bc for \u00fc). They would be learnt.",
    "D165": "`--check-secrets`: a row holds what has the shape of a key, a token or a password. A model can give back what it was trained on.",
    "D166": "`--check-secrets`: a row holds personal data: an address, a telephone, card, account or social security number.",
    "D167": "`--text-column` names the prompts, or the answers, of rows that hold both: the other half is never seen. Where the column that is named "
    "repeats the other one, nothing is lost and nothing is said.",
    "D168": "A share of the rows holds tokens of a well-known chat template or tokenizer, such as <|im_start|>, that this tokenizer doesn't know. They "
    "are learnt as plain text, several tokens each, and nothing stops at them.",
    "D169": "The chat template leaves out part of an answer that is learnt, such as the thoughts in it. Thoughts of earlier turns, which many "
    "templates drop on purpose, are not counted.",
    "D170": "Turns already hold the marks that the chat template writes around them, which so come twice.",
    "D171": "The chat template takes no notice of `add_generation_prompt`: prompts that are to be answered lack what it writes before an answer.",
    "D172": "The conversations of the chosen and the rejected answer differ in what is asked: they answer different prompts, and what is learnt "
    "is not which answer is better.",
    "D173": "The chosen and the rejected answer of a row are the same tokens, most often because both are cut off before they part. The row is "
    "kept, and prefers nothing.",
    "D160": "The tokenizer of the model is missing or damaged.",
}
