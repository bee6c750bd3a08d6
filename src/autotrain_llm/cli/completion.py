"""`autotrain completion bash|zsh|fish`: scripts generated from the declarations.

The script contains the flags, so that completion does not start Python. It has each group of parameters once; after `--trainer dpo` it
offers the groups that dpo reads.
"""

from __future__ import annotations

from collections.abc import Iterable

from autotrain_llm.config.registry import GROUPS, PARAMS, TRAINERS, trainers_that_read
from autotrain_llm.declare.param import Group, Param

SHELLS = ("bash", "zsh", "fish")
USAGE = """\
usage: autotrain completion bash|zsh|fish
       prints a script that completes flags, their values and files; for one session of bash:
       source <(autotrain completion bash)"""
COMMANDS = {
    "llm": "train a language model",
    "prepare": "write rows and tokens to train on",
    "chat": "talk with a finished model",
    "export": "write a trained model for other programs",
    "app": "the same in a browser",
    "check": "check training configs",
    "presets": "show what presets set",
    "report": "rewrite the report of a run",
    "completion": "print a completion script",
    "--help": "show the usage",
    "--version": "show the version",
}
NEGATED_HELP = "turn it off"


def script(shell: str) -> str:
    """The completion script for a shell."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def values_of(param: Param) -> str | tuple[str, ...]:
    """What completes the value of a flag: its choices, "file", "directory", or "" for nothing."""
    if param.name == "trainer":
        return tuple(TRAINERS)
    if param.name == "explain":
        from autotrain_llm.checks.rules.every import every_rule

        return tuple(every_rule())
    if param.choices:
        return param.choices
    words = (param.metavar or "").split("|")
    return "file" if "PATH" in words or "FILE" in words else "directory" if "DIR" in words else ""


def _readers(group: Group) -> list[str]:
    return [trainer.name for trainer in trainers_that_read(group.params[0].name)]


def _by_values(names: Iterable[str]) -> dict[str | tuple[str, ...], list[str]]:
    """Flags with a value, grouped by what completes it."""
    table: dict[str | tuple[str, ...], list[str]] = {}
    for name in names:
        if PARAMS[name].kind != "switch":
            table.setdefault(values_of(PARAMS[name]), []).append(PARAMS[name].flag)
    return table


# ---- bash


BASH = """\
# bash completion for autotrain: source <(autotrain completion bash)
{groups}

_autotrain_flags() {{
    case "$1" in
{trainers}
        *) echo "{all_groups}" ;;
    esac
}}

_autotrain() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" trainer="" i
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $prev == "=" ]]; then
        prev="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    COMPREPLY=()
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{commands}" -- "$cur"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
        check) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -W "--flags-only --strict --format" -- "$cur")); return ;;
        presets) COMPREPLY=($(compgen -W "{presets} --format" -- "$cur")); return ;;
        export) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -W "--to --dtype --output-dir --chat-template --dry-run --quiet --format" -- "$cur")); return ;;
        app) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -W "--port --no-browser --host --dry-run" -- "$cur")); return ;;
        report) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return ;;
        completion) (( COMP_CWORD == 2 )) && COMPREPLY=($(compgen -W "{shells}" -- "$cur")); return ;;
        chat) (( COMP_CWORD == 2 )) && [[ $cur != -* ]] && {{ compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur")); return; }} ;;
        llm|prepare) ;;
        *) return ;;
    esac
    prev="${{prev//_/-}}"
    case "$prev" in
{values}
    esac
    for (( i = 2; i < COMP_CWORD; i++ )); do
        [[ ${{COMP_WORDS[i]}} == --trainer ]] || continue
        trainer="${{COMP_WORDS[i+1]}}"
        [[ $trainer == "=" ]] && trainer="${{COMP_WORDS[i+2]}}"
    done
    COMPREPLY=($(compgen -W "$(_autotrain_flags "$trainer") --help" -- "${{cur//_/-}}"))
}}
complete -F _autotrain autotrain
"""


def _bash() -> str:
    names = {group.name: f"_autotrain_group_{group.name}" for group in GROUPS}
    groups = "\n".join(f'{names[group.name]}="{" ".join(_bash_flags(group))}"' for group in GROUPS)
    trainers = "\n".join(
        f'        {trainer.name}) echo "{" ".join(f"${names[group.name]}" for group in trainer.group_specs)}" ;;'
        for trainer in TRAINERS.values()
    )
    return BASH.format(
        groups=groups,
        trainers=trainers,
        all_groups=" ".join(f"${name}" for name in names.values()),
        commands=" ".join(COMMANDS),
        shells=" ".join(SHELLS),
        presets=" ".join(PARAMS["preset"].choices),
        values="\n".join(_bash_case(flags, values) for values, flags in _by_values(PARAMS).items()),
    )


def _bash_flags(group: Group) -> list[str]:
    flags = [param.flag for param in group.params]
    return flags + [param.negated for param in group.params if param.kind == "switch"]


def _bash_case(flags: list[str], values: str | tuple[str, ...]) -> str:
    """One branch of the case statement: the completion of these flags' values."""
    if values == "file":
        action = 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))'
    elif values == "directory":
        action = 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- "$cur"))'
    elif values:
        action = f'COMPREPLY=($(compgen -W "{" ".join(values)}" -- "$cur"))'
    else:
        action = ":"
    return f"        {'|'.join(flags)}) {action}; return ;;"


# ---- zsh


ZSH = """\
#compdef autotrain
# zsh completion for autotrain: source <(autotrain completion zsh), or save it as _autotrain in a folder of $fpath

_autotrain_llm() {{
    local trainer="" i
    for (( i = 1; i < $#words; i++ )); do
        [[ $words[i] == --trainer ]] && trainer=$words[i+1]
        [[ $words[i] == --trainer=* ]] && trainer=${{words[i]#--trainer=}}
    done
    local -a specs
    specs=('--help[show the flags and exit]')
{groups}
    _arguments -s $specs
}}

_autotrain() {{
    if (( CURRENT == 2 )); then
        local -a commands
        commands=({commands})
        _describe command commands
    elif [[ $words[2] == chat ]] && (( CURRENT == 3 )) && [[ $PREFIX != -* ]]; then
        _files -/
    elif [[ $words[2] == (llm|prepare|chat) ]]; then
        shift words; (( CURRENT-- ))
        _autotrain_llm
    elif [[ $words[2] == check ]]; then
        _arguments '*:config:_files' --flags-only --strict '--format:format:(text json sarif)'
    elif [[ $words[2] == app ]]; then
        _arguments '*:folder:_files -/' '--port:port:' --no-browser '--host:address:' --dry-run
    elif [[ $words[2] == presets ]]; then
        _arguments '*:preset:({presets})' '--format:format:(text json)'
    elif [[ $words[2] == report ]]; then
        _files -/
    elif [[ $words[2] == completion ]] && (( CURRENT == 3 )); then
        compadd {shells}
    fi
}}

if [[ $funcstack[1] == _autotrain ]]; then
    _autotrain "$@"
else
    (( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit }}
    compdef _autotrain autotrain
fi
"""


def _zsh() -> str:
    return ZSH.format(
        groups="\n".join(_zsh_group(group) for group in GROUPS),
        commands=" ".join(f"'{name}:{help}'" for name, help in COMMANDS.items()),
        shells=" ".join(SHELLS),
        presets=" ".join(PARAMS["preset"].choices),
    )


def _zsh_group(group: Group) -> str:
    """The group's flags, behind a condition where some trainer doesn't read them."""
    specs = "\n".join(f"        {spec}" for param in group.params for spec in _zsh_specs(param))
    readers = _readers(group)
    condition = "" if len(readers) == len(TRAINERS) else f"[[ -z $trainer || $trainer == ({'|'.join(readers)}) ]] && "
    return f"    {condition}specs+=(\n{specs}\n    )"


def _zsh_specs(param: Param) -> list[str]:
    text = _zsh_text(param.help)
    if param.kind == "switch":
        return [
            f"'({param.negated}){param.flag}[{text}]'",
            f"'({param.flag}){param.negated}[{NEGATED_HELP}]'",
        ]
    values = values_of(param)
    action = {"file": "_files", "directory": "_files -/", "": " "}.get(values) if isinstance(values, str) else None
    return [f"'{param.flag}=[{text}]:{_zsh_text(param.placeholder)}:{action or '(' + ' '.join(values) + ')'}'"]


def _zsh_text(text: str) -> str:
    for character in "\\[]:":
        text = text.replace(character, "\\" + character)
    return text.replace("'", "'\\''")


# ---- fish


FISH = """\
# fish completion for autotrain: autotrain completion fish | source
function __autotrain_offers --description 'whether the given trainer, if any, is one of these'
    set -l words (commandline -opc)
    test (count $words) -ge 2; and contains -- $words[2] llm prepare chat; or return 1
    set -l trainer (string match -r -g -- '^--trainer=(.*)' $words)
    if set -l index (contains -i -- --trainer $words)
        set trainer $words[(math $index + 1)]
    end
    test -z "$trainer"; or contains -- "$trainer" $argv
end

complete -c autotrain -f
{commands}
complete -c autotrain -n '__fish_seen_subcommand_from check' -F -a '--flags-only --strict --format'
complete -c autotrain -n '__fish_seen_subcommand_from presets' -x -a '{presets} --format'
complete -c autotrain -n '__fish_seen_subcommand_from app' -x -a '(__fish_complete_directories) --port --no-browser --host --dry-run'
complete -c autotrain -n '__fish_seen_subcommand_from report' -x -a '(__fish_complete_directories)'
complete -c autotrain -n '__fish_seen_subcommand_from chat' -a '(__fish_complete_directories)'
complete -c autotrain -n '__fish_seen_subcommand_from completion' -x -a '{shells}'
{flags}
"""


def _fish() -> str:
    words = [f"complete -c autotrain -n __fish_is_first_arg -a {name} -d '{help}'" for name, help in COMMANDS.items()]
    return FISH.format(
        commands="\n".join(words),
        shells=" ".join(SHELLS),
        presets=" ".join(PARAMS["preset"].choices),
        flags="\n".join(line for group in GROUPS for param in group.params for line in _fish_lines(param, group)),
    )


def _fish_lines(param: Param, group: Group) -> list[str]:
    start = f"complete -c autotrain -n '__autotrain_offers {' '.join(_readers(group))}'"
    name, text = param.flag.removeprefix("--"), _fish_text(param.help)
    if param.kind == "switch":
        return [f"{start} -l {name} -d '{text}'", f"{start} -l no-{name} -d '{NEGATED_HELP}'"]
    values = values_of(param)
    if values == "file":
        takes = "-r -F"
    elif values == "directory":
        takes = "-x -a '(__fish_complete_directories)'"
    else:
        takes = f"-x -a '{' '.join(values)}'" if values else "-x"
    return [f"{start} -l {name} {takes} -d '{text}'"]


def _fish_text(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
