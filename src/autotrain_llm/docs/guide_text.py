"""The chapters of the guide that no declaration implies, in Markdown."""

from __future__ import annotations

INTRODUCTION = """\
`autotrain llm` has one set of flags and several trainers. This guide says, for each trainer, which flags it needs, which it reads, and
what happens with the rest. It is written from the same declarations that the program reads, so it can't disagree with it.

- `autotrain llm --trainer NAME --help` shows the same in a terminal.
- [docs/compatibility.md](docs/compatibility.md) is the whole matrix, parameter by trainer.
- [docs/rules.md](docs/rules.md) explains every finding; [docs/schema.json](docs/schema.json) lets an editor check config files.

Flags are written with dashes; underscores are accepted too. A switch takes `--x`, `--x true`, `--x false` and `--no-x`. The command line
wins over `--config FILE`, which wins over a trainer's own default, which wins over the general default; the plan shows for each value
where it came from."""

MIXINS_INTRODUCTION = """\
These features are not tied to one trainer. Each has a switch and flags of its own; those flags count only together with the switch. Any of
them can be combined."""

MIGRATION = """\
### Commands with `--advanced`

Leave the flag out. Nothing hides behind it any more: every parameter is there from the start, and what a trainer has no use for is
named when it is given.

### Commands with `--trainer distillation`

Distillation is no trainer of its own now but is added to one. Pick the trainer that fits the data, and switch it on:

```text
before:  --trainer distillation --teacher-model TEACHER
now:     --trainer sft --use-distillation --teacher-model TEACHER
```

The student is compared with the teacher's probabilities for every token, so the teacher must be a model whose weights can be loaded: a
folder or a Hub id. A model that only answers over an API, such as gpt-4, can't be a teacher here.

### Commands and configs of AutoTrain

`--project-name` is taken for `--output-dir`, and YAML files with `task`, `base_model`, `data`, `params` and `hub` are read as they are.
Flags that have no meaning here are accepted and said to have none. Names from other tools (`--learning-rate`, `--num-train-epochs`,
`--use-peft`, …) are answered with the name to use."""

VALIDATION = """\
A command is checked before anything is loaded: its flags, this machine, the model's files, the rows of the data. All findings come
together, each with what to type instead.

A *warning* means that the run starts and does what the warning says. A parameter that will be ignored really is: the run is the same as
without it.

```text
$ autotrain llm --trainer sft --dpo-beta 0.1 …
Warning: dpo_beta only applies to DPO trainer, will be ignored  [P101 --dpo-beta]
```

An *error* means that nothing was started and nothing was written; the exit status is 2.

```text
$ autotrain llm --trainer ppo --use-distillation …
Error: Distillation is not supported with PPO trainer  [P112 --use-distillation]
```

What counts is what was given: a default is never a finding, and a flag given at its default value is treated like any other. `--dry-run`
checks and prints the plan; `--strict` lets warnings refuse the run as errors do; `--format json` prints findings, plan and report as one
JSON document; `--explain P101` tells what a code means."""

BEST_PRACTICES = """\
### Grow a command step by step

Let `--dry-run` accept the smallest command first: trainer, model, data, learning rate, epochs, batch size. Then add one thing at a time,
`--peft` first, since it changes which learning rate is right.

### Find the batch size from memory, not from habit

`--batch-size` is what one device holds at a time. The plan estimates the memory it takes, says what takes most of it, and what other
flags would make of it. What the optimizer sees is that times `--gradient-accumulation` times the number of devices, so a large batch can
be had on a small card by raising the accumulation. As a start: 8 to 16 rows for models under 7B parameters, 4 to 8 up to 13B, 1 to 4
above.

For a card that is not in this machine, `--dry-run --target-memory 24GiB` plans as for one: it says whether the run fits, the largest batch
size, length and rank of an adapter that do, each by itself, and where it does not fit, the flags that make it (`--fix` writes that
command). `cpu:16GiB` is a machine without a GPU. Without `--dry-run` it is how much of this machine's device the run may take. A run that
would not fit even if it took a fifth less than estimated is refused.

### Take the trainer that the data asks for

{which_trainer}

### Save memory in this order

1. `--mixed-precision bf16` is the default where the machine computes in it.
2. `--peft` holds gradients and optimizer state for the adapter only.
3. A shorter `--block-size`, if the rows allow it: the plan counts what would be cut.
4. `--gradient-checkpointing` computes activations twice to keep fewer.
5. `--quantization int4` with `--peft` on a CUDA card.

### Look at what the model sees

`--preview-data 3` prints prepared rows with the tokens that are trained on marked. Most disappointing runs are explained there."""

TROUBLESHOOTING = """\
### A parameter isn't known

The message names the nearest one. Flags can't be shortened. Whether a trainer reads a parameter is in
[docs/compatibility.md](docs/compatibility.md).

### The reward model isn't accepted

`--rl-reward-model-path` wants the output folder of a finished `--trainer reward` run, or any sequence classifier with one label. A
language model has no score head, and one with random weights would be trained against noise, so it is refused.

### Memory runs out

The run ends with status 1 and keeps every complete checkpoint. Halve `--batch-size` and double `--gradient-accumulation`: the result is
the same. Then the list under “Save memory in this order”. `--resume` goes on from the newest checkpoint.

### Evaluation loss goes up while training loss goes down

The model is learning the rows by heart: fewer `--epochs`, a lower `--lr`, or more rows. `--load-best-model-at-end` with
`--early-stopping-patience 2` keeps the best checkpoint. If both rise, the learning rate is too high, or `--warmup-ratio` too small.

### The loss falls and the answers are bad

Look at `--preview-data`: is the chat template the model's own, and are the right tokens trained on? A model that never stops was trained
without its end token (`--no-add-eos-token`)."""
