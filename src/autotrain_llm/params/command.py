"""What steers this one command and is no part of the training: none of it can stand in a config file or a sweep."""

from __future__ import annotations

import os

from autotrain_llm.declare.param import AT_LEAST_ONE, NO_INFLUENCE, group, param

# The presets of this package: YAML files, which `config/presets.py` reads.
FOLDER = os.path.join(os.path.dirname(__file__), "..", "presets")  # noqa: PTH118, PTH120 (pathlib is not loaded for --help)
PRESETS = tuple(sorted(name.removesuffix(".yaml") for name in os.listdir(FOLDER)))  # noqa: PTH208


@group("This command", order=900, searchable=False, on_resume=NO_INFLUENCE)
class Command:
    """What this command does and prints."""

    config: str | None = param(
        None,
        "Read parameters from a YAML, JSON or Python file; the command line takes precedence.",
        usual=True,
        metavar="FILE",
        command=True,
    )
    preset: str | None = param(
        None,
        "Start from the settings of a preset; config file and command line take precedence. `autotrain presets` shows what they set.",
        usual=True,
        choices=PRESETS,
        metavar="NAME",
        command=True,
        in_files=True,
    )
    from_stage: str | None = param(
        None,
        "With a config of stages: train this stage and all after it, also those that are finished; earlier ones are used as they are.",
        metavar="NAME",
        command=True,
    )
    only: str | None = param(
        None,
        "With a config of stages: train this stage alone, also if it is finished; earlier ones are used as they are.",
        metavar="NAME",
        command=True,
    )
    dry_run: bool = param(
        False,
        "Check everything and print the plan; load no weights, train nothing, write nothing but the cache of prepared rows.",
        usual=True,
        command=True,
        checking=True,
    )
    check_rows: int | None = param(
        None,
        "Check only the first N rows for duplicates and leakage; with --dry-run or --preview-data, also read no more than N.",
        within=AT_LEAST_ONE,
        command=True,
        default_words="all",
        checking=True,
    )
    check_secrets: bool = param(
        False,
        "Search the rows for keys, passwords and personal data; the values found are never printed.",
        command=True,
        checking=True,
    )
    strict: bool = param(False, "Treat warnings as errors, so that any finding stops the run.", command=True)
    format: str = param(
        "text",
        "Output format of findings, plan and report.",
        choices=("text", "json", "sarif"),
        command=True,
        checking=True,
    )
    fix: bool = param(
        False,
        "Apply the suggested fixes and print the corrected command and the remaining findings; train nothing.",
        command=True,
        checking=True,
    )
    write_config: str | None = param(
        None,
        "With --fix: write the corrected parameters to this YAML file.",
        metavar="FILE",
        command=True,
        checking=True,
    )
    save_plan: str | None = param(
        None,
        "Save the plan, with fingerprints of the files and packages it was made from.",
        metavar="FILE",
        command=True,
        checking=True,
    )
    plan: str | None = param(
        None,
        "Train a plan saved with --save-plan; refused if a file or package has changed since.",
        metavar="FILE",
        command=True,
    )
    explain: str | None = param(
        None, "Print the documentation of the rule with this code, and exit.", metavar="CODE", command=True
    )
    interactive: bool = param(
        False,
        "Ask for missing parameters, print the resulting command, and ask before starting it.",
        usual=True,
        command=True,
        checking=True,
    )
    preview_data: int | None = param(
        None,
        "Print N prepared rows as the model sees them, with the tokens that are trained on marked.",
        within=AT_LEAST_ONE,
        command=True,
    )
    quiet: bool = param(False, "Print only findings and the result.", command=True)
    verbose: bool = param(False, "Print every parameter of the plan and the libraries' log messages.", command=True)
