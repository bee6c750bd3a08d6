"""What steers this one command and is no part of the training: none of it can stand in a config file or a sweep."""

from __future__ import annotations

from autotrain_llm.declare.param import AT_LEAST_ONE, group, param


@group("This command", order=900, searchable=False)
class Command:
    """What to do, and how to say it."""

    config: str | None = param(
        None, "Read parameters from a YAML or JSON file; the command line wins over it.", metavar="FILE", command=True
    )
    dry_run: bool = param(
        False,
        "Check everything and print the plan, without loading weights, training or writing.",
        command=True,
        checking=True,
    )
    check_rows: int | None = param(
        None,
        "Compare only so many rows with each other, the first ones; with --dry-run or --preview-data, read no more than these.",
        within=AT_LEAST_ONE,
        command=True,
        default_words="all",
        checking=True,
    )
    check_secrets: bool = param(
        False,
        "Look for keys, passwords and personal data in the rows; none of what is found is printed.",
        command=True,
        checking=True,
    )
    strict: bool = param(False, "Let a warning refuse the run, as an error does.", command=True)
    format: str = param(
        "text",
        "How findings, plan and report are printed.",
        choices=("text", "json", "sarif"),
        command=True,
        checking=True,
    )
    fix: bool = param(
        False,
        "Carry out the fixes that can be, print the corrected command and what is left to find; train nothing.",
        command=True,
        checking=True,
    )
    write_config: str | None = param(
        None,
        "With --fix: write the corrected parameters to this file, as YAML.",
        metavar="FILE",
        command=True,
        checking=True,
    )
    save_plan: str | None = param(
        None,
        "Keep the plan, with fingerprints of all that it was made of.",
        metavar="FILE",
        command=True,
        checking=True,
    )
    plan: str | None = param(
        None,
        "Train exactly a plan that was kept; refused where anything has changed since.",
        metavar="FILE",
        command=True,
    )
    explain: str | None = param(
        None, "Print what the rule with this code means, and exit.", metavar="CODE", command=True
    )
    interactive: bool = param(
        False,
        "Ask for what is missing, print the command it amounts to, and ask before it starts.",
        command=True,
        checking=True,
    )
    preview_data: int | None = param(
        None,
        "Print so many prepared rows as the model sees them: their tokens, and which of them are trained on.",
        within=AT_LEAST_ONE,
        command=True,
    )
    inference: bool = param(False, "Answer --prompts with --model instead of training.", command=True)
    prompts: str | None = param(
        None,
        "With --inference: a text to answer, or a file with one prompt or row each line.",
        metavar="TEXT|FILE",
        command=True,
    )
    max_new_tokens: int = param(
        256, "With --inference: the longest answer, in tokens.", within=AT_LEAST_ONE, command=True
    )
    quiet: bool = param(False, "Print findings and the result only.", command=True)
    verbose: bool = param(False, "Print every parameter of the plan, and what the libraries log.", command=True)
