"""Print a script that completes verbs, options and file names in your shell.

bash    eval "$(seektune completion bash)"       in ~/.bashrc
zsh     eval "$(seektune completion zsh)"        in ~/.zshrc, after compinit
fish    seektune completion fish | source        in ~/.config/fish/config.fish
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ._verbs import command, parser_of, verbs


@dataclass
class Option:
    """An option or, with `flag` "", a positional argument of a verb."""

    flag: str
    help: str
    takes_value: bool
    choices: list[str]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell that shall read the script")


def run(options: argparse.Namespace) -> int:
    write = {"bash": bash, "zsh": zsh, "fish": fish}[options.shell]
    print(write(*_described()))
    return 0


def _described() -> tuple[dict[str, str], dict[str, list[Option]]]:
    """(verb -> help, verb -> options), read from the parsers of all verbs."""
    known = verbs()
    return known, {verb: list(_options(parser_of(verb, command(verb)))) for verb in known}


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in parser._actions:
        choices = [str(choice) for choice in action.choices or ()]
        flag = next((name for name in action.option_strings if name.startswith("--")), "")
        yield Option(flag, (action.help or "").partition("\n")[0], action.nargs != 0, choices)


def bash(verbs: dict[str, str], options: dict[str, list[Option]]) -> str:
    """Completes with file names where it has no word of its own (`-o default`)."""
    flags, words = [], []
    for verb, known in options.items():
        flags.append(f'    {verb}) flags="{" ".join(o.flag for o in known if o.flag)}" ;;')
        words += [f'    "{verb} {o.flag}") words="{" ".join(o.choices)}" ;;' for o in known if o.flag and o.choices]
        words += [f'    "{verb} "*) words="{" ".join(o.choices)}" ;;' for o in known if not o.flag and o.choices]
    return "\n".join(
        [
            "_seektune() {",
            '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" verb="${COMP_WORDS[1]}"',
            '  local flags="" words=""',
            "  COMPREPLY=()",
            '  if [ "$COMP_CWORD" -eq 1 ]; then',
            f'    COMPREPLY=($(compgen -W "{" ".join(verbs)} --help --version" -- "$word")); return',
            "  fi",
            '  case "$verb" in',
            *flags,
            "  esac",
            '  case "$verb $before" in',
            *words,
            "  esac",
            '  case "$word" in -*) words="$flags" ;; esac',
            '  if [ -n "$words" ]; then COMPREPLY=($(compgen -W "$words" -- "$word")); fi',
            "}",
            "complete -o default -F _seektune seektune",
        ]
    )


def zsh(verbs: dict[str, str], options: dict[str, list[Option]]) -> str:
    lines = ["#compdef seektune", "_seektune() {", "  local -a verbs", "  verbs=("]
    lines += [f"    '{verb}:{_plain(line)}'" for verb, line in verbs.items()]
    lines += ["  )", "  if (( CURRENT == 2 )); then _describe verb verbs; return; fi", '  case "$words[2]" in']
    for verb, known in options.items():
        specs = [f"'{o.flag}[{_plain(o.help)}]{_zsh_value(o)}'" for o in known if o.flag]
        specs += [f"'*:word:({' '.join(o.choices)})'" for o in known if not o.flag and o.choices] or ["'*:file:_files'"]
        lines.append(f"    {verb}) _arguments '1:verb:' {' '.join(specs)} ;;")
    return "\n".join([*lines, "  esac", "}", "compdef _seektune seektune"])


def _zsh_value(option: Option) -> str:
    if not option.takes_value:
        return ""
    return f":value:({' '.join(option.choices)})" if option.choices else ":file:_files"


def fish(verbs: dict[str, str], options: dict[str, list[Option]]) -> str:
    lines = ["complete -c seektune -n __fish_use_subcommand -f"]
    lines += [f"complete -c seektune -n __fish_use_subcommand -a {v} -d '{_plain(line)}'" for v, line in verbs.items()]
    for verb, known in options.items():
        seen = f"complete -c seektune -n '__fish_seen_subcommand_from {verb}'"
        for option in known:
            words = f" -f -a '{' '.join(option.choices)}'" if option.choices else ""
            value = " -r" if option.takes_value and option.flag else ""
            if option.flag:
                lines.append(f"{seen} -l {option.flag[2:]}{value}{words} -d '{_plain(option.help)}'")
            elif words:
                lines.append(f"{seen}{words}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Help without the characters that the shells would read."""
    return re.sub(r"['\[\]:`\\$\"]", "", text)
