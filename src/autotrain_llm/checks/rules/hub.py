"""Uploading the finished model to the Hugging Face Hub: account, name and token."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autotrain_llm.config.resolved import Config
from autotrain_llm.context.machine import Machine
from autotrain_llm.context.output_dir import Output
from autotrain_llm.declare.example import SFT, Example, of_flags
from autotrain_llm.declare.finding import WARNING, Finding
from autotrain_llm.declare.param import flag_of
from autotrain_llm.declare.rule import rule

TOKEN_PREFIXES = ("hf_", "api_")  # today's, and those of old organisation tokens
VARIABLE = re.compile(r"\$\{?\w+\}?|%\w+%")


@rule("P336", WARNING, refuses="--username somebody", accepts="--username somebody --push-to-hub --token hf_1")
def an_account_name_needs_an_upload(config: Config) -> Iterator[Finding]:
    """`--username` or `--hub-private` is given without `--push-to-hub`.

    Why: nothing is uploaded unless `--push-to-hub` is given.
    Fix: add it, or remove the flag.
    """
    given = [name for name in ("username", "hub_private") if config.given(name)]
    if given and not config.given("push_to_hub"):
        yield Finding(
            f"{flag_of(given[0])} has no effect without --push-to-hub: nothing is uploaded",
            changes={"push_to_hub": True},
            otherwise=f"or remove {flag_of(given[0])}",
            parameters=(given[0], "push_to_hub"),
        )


@rule("P338", WARNING, example=of_flags("--push-to-hub --token sk-abc", "--push-to-hub --token hf_abc"))
def a_token_should_be_one_of_the_hub(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--token` does not look like a token of the Hugging Face Hub.

    Why: those start with `hf_`. The key of another service is refused at the end of the run, and a shell does not expand a variable in
    single quotes. A private Hub (`HF_ENDPOINT`) may use other tokens. The token itself is never printed.
    Fix: a token of the Hub, in double quotes where it comes from a variable.
    """
    token = config.token
    if not config.given("token") or not token or token.startswith(TOKEN_PREFIXES):
        return
    if machine.environment.get("HF_ENDPOINT"):
        return
    unexpanded = ": it is the name of a variable, which no shell expands in single quotes"
    yield Finding(
        f"--token is not a Hub token, which starts with hf_{unexpanded if VARIABLE.fullmatch(token) else ''}",
        fix='--token "$HF_TOKEN", or remove --token where HF_TOKEN is set',
        parameters=("token",),
    )


@rule(
    "E506",
    example=Example(
        "HF_TOKEN= HUGGING_FACE_HUB_TOKEN= HF_HOME=nowhere " + SFT + "rows.jsonl --push-to-hub",
        "HF_TOKEN=hf_mine " + SFT + "rows.jsonl --push-to-hub",
    ),
)
def uploading_needs_a_token(config: Config, machine: Machine) -> Iterator[Finding]:
    """`--push-to-hub` without a token, or with `--offline`.

    Why: the upload is the last step and would fail after all the training.
    Fix: set HF_TOKEN, or log in.
    """
    if not config.push_to_hub:
        return
    if config.offline:
        yield Finding(
            "--push-to-hub uploads the model, and --offline forbids it",
            changes={"offline": None},
            parameters=("push_to_hub", "offline"),
        )
    if not (config.token or machine.hub_token):
        yield Finding(
            "--push-to-hub needs a token, and there is none in HF_TOKEN, in --token or from a login",
            fix="export HF_TOKEN=…, or hf auth login",
            parameters=("push_to_hub", "token"),
        )


@rule(
    "E412",
    example=of_flags(
        "--push-to-hub --token hf_abcdefghijkl --output-dir 'my model'",
        "--push-to-hub --token hf_abcdefghijkl --output-dir my-model",
    ),
)
def a_model_on_the_hub_needs_a_valid_name(config: Config, output: Output) -> Iterator[Finding]:
    """`--push-to-hub` would upload under a name that the Hub refuses: the account's, or the output folder's.

    Why: the upload is the last step and would fail after all the training.
    Fix: letters, digits, `-`, `_` and `.`, starting and ending with a letter or digit; no `--` or `..`, and at most 96 characters.
    """
    if not config.push_to_hub:
        return
    owner, name = config.username, output.folder.resolve().name
    if owner and not _is_hub_name(owner):
        yield Finding(
            f"--username {owner} is not a valid account name on the Hub, which has letters, digits and single - only",
            None,
            ("username", "push_to_hub"),
        )
    if output.named and not _is_hub_name(name):
        # Runs of other characters, and of -, become a single one.
        valid = re.sub(r"[^\w.]+", "-", name.removesuffix(".git"), flags=re.ASCII)
        valid = re.sub(r"\.\.+", ".", valid).replace("-.", "-").replace(".-", "-")[:96].strip("-._") or "model"
        yield Finding(
            f"the model would be named {name!r} on the Hub, after --output-dir, and the Hub allows letters, digits, single -, _ and . only",
            changes={"output_dir": str(output.folder.with_name(valid))},
            parameters=("output_dir", "push_to_hub"),
        )


def _is_hub_name(name: str) -> bool:
    """As huggingface_hub's `validate_repo_id` has it, for either part of a name."""
    matches = re.fullmatch(r"\b[\w\-.]{1,96}\b", name, flags=re.ASCII) is not None
    return matches and "--" not in name and ".." not in name and not name.endswith(".git")
