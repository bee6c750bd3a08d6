"""The chapters of the guide that no declaration implies, in Markdown."""

from __future__ import annotations

INTRODUCTION = """\
`autotrain llm` has one set of flags and several trainers. This guide says, for each trainer, which flags it needs, which it reads, and
what happens with the rest. Without `--trainer` it is sft. It is generated from the declarations that the program itself reads, so it is always up to date.

- `autotrain llm --trainer NAME --help` shows the same in a terminal.
- The [compatibility matrix](#compatibility-matrix) is the whole table, parameter by trainer.
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

`autotrain --config FILE` is carried out as `autotrain llm --config FILE`, and `autotrain sft …`, as TRL has it, as `autotrain llm --trainer sft …`; a command that
there is not, such as `autotrain app`, is answered with what to type. `--project-name` means `--output-dir`, and YAML files with `task`, `base_model`, `data`, `params` and `hub` are read as they are. `task: llm`
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
can train with a large batch by accumulating more. As a start:

| Parameters of the model | `--batch-size` |
| --- | --- |
| under 7B | 8 to 16 |
| 7B to 13B | 4 to 8 |
| above 13B | 1 to 4 |

`--dry-run --target-memory 24GiB` plans for a card that is not in this machine: it shows whether the run fits, the largest batch size,
length and adapter rank that fit, each by itself, and otherwise the flags with which it would (`--fix` prints that command). `cpu:16GiB` is
a machine without a GPU. Without `--dry-run` it limits the memory of this machine's device. A run is refused if it would not fit even
with 20 % less memory than estimated.

### Start from usual values

What each trainer is usually started with. A reinforced or aligned model starts from a trained one and needs a lower learning rate than one that learns
to answer; an adapter needs a higher one than all weights. Preferences are learned with adapters of a higher rank than answers.

{usual_values}

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
### A parameter is not recognised

The message suggests the most similar name. Flags can't be abbreviated. Whether a parameter applies to the trainer is in the
[compatibility matrix](#compatibility-matrix): one that it does not read is ignored with a warning (P101).

### The reward model is not found, or refused

Look whether the training of the reward model was completed: its last line was "Done", and `run.json` in its folder has the status `ok`. The path is that
folder, not one of its checkpoints' parents.

`--rl-reward-model-path` needs the output folder of a finished `--trainer reward` run, or any sequence classifier with one label. A
language model has no score head. A random head would give random rewards, so the run is refused.

### Memory runs out

The run ends with status 1 and keeps every complete checkpoint. Halve `--batch-size` and double `--gradient-accumulation`: the result is
the same. Then `--mixed-precision bf16`, `--peft`, a smaller `--block-size`, and the rest of the list under “Save memory in this order”. `--resume` continues from the newest checkpoint.

### The validation loss increases

The end of the run says at which step it was lowest (P740), with what to type. If the training loss goes down meanwhile, the model overfits: use fewer
`--epochs`, a lower `--lr`, or more rows. `--load-best-model-at-end` with `--early-stopping-patience 2` keeps the best checkpoint. If both rise, the
learning rate is too high, or `--warmup-ratio` too small. If it is high from the start, look at the data: `--preview-data 3` shows what is trained on,
and findings name duplicates, rows in the wrong format, and rows that are in both parts.

### The reward does not change

If the rewards of sampled answers never differ, nothing is learned from them: P741 says so while the run goes on. `samples.jsonl` has the answers
with their rewards. The reward has to tell apart answers that are all wrong, too, such as one with partial credit.

### The loss falls and the answers are bad

Look at `--preview-data`: is the chat template the model's own, and are the right tokens trained on? A model that never stops was trained
without its end token (`--no-add-eos-token`)."""

SUPPORT = """\
- **Documentation:** `autotrain llm --help NAME` explains a parameter, `autotrain llm --explain CODE` a finding; the pages of [docs/](docs/) are listed
  in the [README](README.md).
- **Checks:** `--dry-run` shows the plan and everything that is wrong without starting; `--preview-data 3` shows what the model sees.
- **Issues:** report them where you got this package from, with the command, the last lines, `run.json` of the output folder (it has versions, plan and
  findings, and no secrets), and after an unexpected error the file with the traceback that its message names. `--engine trl` trains the same plan with
  TRL's trainer, which tells a fault of this package from one of the data or the libraries.
- **Commands and configs of AutoTrain**, which are understood here, are described in its
  [documentation](https://huggingface.co/docs/autotrain); its own issues are at
  [huggingface/autotrain-advanced](https://github.com/huggingface/autotrain-advanced/issues)."""
