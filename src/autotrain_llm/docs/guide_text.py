"""The chapters of the guide that no declaration implies, in Markdown."""

from __future__ import annotations

INTRODUCTION = """\
`autotrain llm` has one set of flags and several trainers. This guide says, for each trainer, which flags it needs, which it reads, and
what happens with the rest. Without `--trainer` it is sft. It is generated from the declarations that the program itself reads, so it is always up to date.

- `autotrain llm --trainer NAME --help` shows the same in a terminal.
- [docs/compatibility.md](docs/compatibility.md) is the whole matrix, parameter by trainer.
- [docs/rules.md](docs/rules.md) explains every finding; [docs/schema.json](docs/schema.json) lets an editor check config files.

Flags are written with dashes; underscores are accepted too. A switch takes `--x`, `--x true`, `--x false` and `--no-x`. The command line
wins over `--config FILE`, which wins over a trainer's own default, which wins over the general default; the plan shows for each value
where it came from."""

MIXINS_INTRODUCTION = """\
These features are not tied to one trainer. Each has a switch and its own flags, which only have an effect together with the switch. All of
them can be combined."""

MIGRATION = """\
### Commands with `--advanced`

Remove the flag. All parameters are available without it, and a warning names those that the trainer ignores.

### Commands with `--trainer distillation`

Distillation is no longer a trainer but an option of one. Choose the trainer that fits the data, and add the option:

```text
before:  --trainer distillation --teacher-model TEACHER
now:     --trainer sft --use-distillation --teacher-model TEACHER
```

The student is compared with the teacher's probabilities for every token, so the teacher must be a model whose weights can be loaded: a
folder or a Hub id. A model that is only available over an API, such as gpt-4, can't be a teacher.

### Commands and configs of AutoTrain

`--project-name` means `--output-dir`, and YAML files with `task`, `base_model`, `data`, `params` and `hub` are read as they are. `task: llm`
and `trainer: default` mean sft here, where AutoTrain means generic. Flags without a meaning here are accepted with a warning. Some names that mean
the same in other tools are accepted (`--learning-rate`, `--model-name`, `--data-files`, `--trainer-type`, `--use-wandb`, with a trainer that has one
`--beta`, and the block `dpo_args` of a config): the plan shows under which name a value was given, and `--help` lists them. Other names from other
tools (`--num-train-epochs`, `--use-peft`, …) are refused with the name to use."""

VALIDATION = """\
A command is checked before any weights are loaded: its flags, this machine, the model's files, the rows of the data. All findings are
reported together, each with a fix.

A *warning* means that the run starts and does what the warning says. A parameter that is ignored has no effect: the run is the same as
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

Only given parameters are checked: a default is never a finding, and a flag given with its default value is treated like any other.
`--dry-run` checks and prints the plan; with `--strict` warnings refuse the run as errors do; `--format json` prints findings, plan and
report as one JSON document; `--explain P101` explains a code."""

BEST_PRACTICES = """\
### Extend a command step by step

Start with the smallest command that `--dry-run` accepts: trainer, model, data, learning rate, epochs, batch size. Then add one thing at a time,
`--peft` first, because it needs a higher learning rate.

### Choose the batch size by memory

`--batch-size` is the number of rows per device and forward pass. The plan estimates the memory, shows what takes most of it, and the effect
of other flags. The effective batch size is `--batch-size` times `--gradient-accumulation` times the number of devices, so a small card
can train with a large batch by accumulating more. As a start: 8 to 16 rows for models under 7B parameters, 4 to 8 up to 13B, 1 to 4
above.

`--dry-run --target-memory 24GiB` plans for a card that is not in this machine: it shows whether the run fits, the largest batch size,
length and adapter rank that fit, each by itself, and otherwise the flags with which it would (`--fix` prints that command). `cpu:16GiB` is
a machine without a GPU. Without `--dry-run` it limits the memory of this machine's device. A run is refused if it would not fit even
with 20 % less memory than estimated.

### Choose the trainer by the data

{which_trainer}

### Save memory in this order

1. `--mixed-precision bf16` is the default if the device computes in bf16 natively.
2. `--peft` needs gradients and optimizer state for the adapter only.
3. A shorter `--block-size`, if the rows allow it: the plan counts the rows that would be truncated.
4. `--gradient-checkpointing` recomputes activations in the backward pass and saves fewer.
5. `--quantization int4` with `--peft` on a CUDA card.

### Look at what the model sees

`--preview-data 3` prints prepared rows with the trained tokens marked. It often explains a disappointing run."""

TROUBLESHOOTING = """\
### A parameter is unknown

The message suggests the most similar name. Flags can't be abbreviated. Which trainer reads a parameter is in
[docs/compatibility.md](docs/compatibility.md).

### The reward model is refused

`--rl-reward-model-path` needs the output folder of a finished `--trainer reward` run, or any sequence classifier with one label. A
language model has no score head. A random head would give random rewards, so the run is refused.

### Memory runs out

The run ends with status 1 and keeps every complete checkpoint. Halve `--batch-size` and double `--gradient-accumulation`: the result is
the same. Then try the list under “Save memory in this order”. `--resume` continues from the newest checkpoint.

### Evaluation loss goes up while training loss goes down

The model overfits: use fewer `--epochs`, a lower `--lr`, or more rows. `--load-best-model-at-end` with
`--early-stopping-patience 2` keeps the best checkpoint. If both rise, the learning rate is too high, or `--warmup-ratio` too small.

### The loss falls and the answers are bad

Look at `--preview-data`: is the chat template the model's own, and are the right tokens trained on? A model that never stops was trained
without its end token (`--no-add-eos-token`)."""
