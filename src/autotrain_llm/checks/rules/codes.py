"""What a code means, for `--explain`: the rules' own, and those of what is found while reading flags, model files and rows."""

from __future__ import annotations

from inspect import cleandoc

from autotrain_llm.data.codes import EXPLANATIONS as OF_DATA
from autotrain_llm.models.checks.files import CODES as OF_MODELS

OF_READING = {
    "P102": "A flag or key has another name here.\n\nFix: the name that is shown.",
    "P103": "`--trainer distillation` was removed: distillation combines with a trainer.\n\n"
    "Fix: `--trainer sft --use-distillation --teacher-model <name or path>`.",
    "P104": "There is no such parameter.\n\nFix: the nearest name, where one is near.",
    "P105": "A flag that steers one command stands in a config file.\n\nFix: type it on the command line.",
    "P106": "The config file can't be read: it is missing, is no UTF-8 text, or is neither YAML nor JSON with parameters as keys.",
    "P110": "A flag of another tool is accepted and has no effect.\n\nFix: remove it.",
    "P111": "A choice that older commands use has another name today; today's is used.",
    "P114": "A file that a flag names can't be written: `--write-config`, `--save-plan`.\n\nFix: a file in a folder that is there.",
    "P115": "`--plan` names a file that is not there, or that `--save-plan` did not write.",
    "P116": "A flag beside `--plan` says something else than the plan, which is trained exactly as it was kept.\n\nFix: drop the flag, or "
    "keep another plan.",
    "P117": "What a kept plan was made of has changed since: data, model files, packages, or what follows from the machine. It names what.\n\n"
    "Fix: keep the plan anew, or bring back what it was made of.",
    "P118": "`autotrain check` was given no config file, and found none with training parameters beneath this folder.",
    "P120": "A flag stands without the value it needs, or with one that it doesn't take.",
    "P121": "Words on the command line belong to no flag. A value with spaces needs quotes.",
    "P122": "There is no such command or shell.",
    "P123": "`--interactive` asks questions, and there is no terminal to ask them on.",
    "P124": "No finding has this code.",
    "P125": "`autotrain report` names a folder that is not there or holds no run: it has no run.json.\n\nFix: an output folder.",
    "P126": "A flag stands in the command more than once, with different values. The last counts, as it does elsewhere.\n\nFix: keep one.",
    "P127": "A value of a config file is taken from an environment variable, `${NAME}`, that is not set. It counts as not given.\n\n"
    "Fix: set the variable, or write the value.",
    "P302": "A value is not of its parameter's kind: a number, a switch, a list or JSON.",
    "P731": "A function that scores answers fails when it is called with two answers to the first row, one of them empty: it raises, wants "
    "a column that the rows don't have, or does not return a number for each.\n\nIt is called with keyword arguments: `prompts` (texts, or "
    "lists of turns, as the rows have them), `completions` (texts), and each other column of the rows; a function without `**` gets "
    "those that it names.",
    "P330": "`--prompts` names a file that is not there or holds no prompt, or a prompt can't be answered: the chat template refuses it, "
    "or it leaves no room in the model's context.",
    "E408": "`--sweep-name` names a study, in the database of `--sweep-storage`, that searches something else.\n\nFix: another name.",
    "E409": "The database of `--sweep-storage` can't be reached, or does not let this user make tables.\n\nFix: what its own message says.",
    "E410": "The trials of a sweep would never evaluate: `--eval-steps` is beyond their last step.\n\nFix: a smaller `--eval-steps`, or "
    "`--eval-strategy epoch`.",
    "R101": "The run started and failed; every complete checkpoint is kept.",
    "R102": "Something happened that nobody foresaw. `--verbose` shows where.",
}
OF_FINDING_A_MODEL = {
    "M102": "There is no such folder or run, and the name can't be a Hub id. A path is never looked for on the Hub.",
    "M103": "A file was named where a model's folder belongs.",
    "M104": "GGUF files hold a model for inference, in a form that can't be trained.",
    "M105": "The model exists behind a service only; its weights can't be had.",
    "M106": "The run has no such checkpoint or step, or no complete one.",
    "M107": "The base that an adapter sits on can't be found: `base_model_name_or_path` in its adapter_config.json.",
    "M108": "The Hub can't be reached, or `--offline` is set, and the model is not cached.",
    "M109": "The model is gated: accept its terms on the Hub and give a token.",
    "M110": "The Hub has no such model or revision.",
    "M111": "`scratch:` needs a size such as 1m or 0.5b.",
    "M112": "A new model is too small for the vocabulary of its tokenizer.",
}

EXPLANATIONS: dict[str, str] = {
    **OF_READING,
    **OF_FINDING_A_MODEL,
    **{code: cleandoc(check.__doc__ or "") for check, code in OF_MODELS.items()},
    **OF_DATA,
}
