"""`./entrypoint.sh completion bash|zsh`: what a shell offers after each word.

The script is printed whole, so that pressing Tab starts no program. It is made from the words'
own parsers, so that it cannot say anything else than `--help` does.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from order_service.cli import whole_parser

Offer = tuple[str, list[str]]  # the words so far, and what may follow
STATE = "--state"  # which entrypoint.sh takes itself, with every word
_OFFERS = """_order_service_offers() {
    case "$1" in
%s
        *) return 1 ;;
    esac
}
"""
# Words that are no options lead on; after an option that has few values those are offered.
_BASH = """_order_service() {
    local at=. word i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word != -* ]] && _order_service_offers "$at $word" > /dev/null && at="$at $word"
    done
    word=${COMP_WORDS[COMP_CWORD - 1]}
    [[ $word == -* ]] && _order_service_offers "$at $word" > /dev/null && at="$at $word"
    COMPREPLY=($(compgen -W "$(_order_service_offers "$at")" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _order_service entrypoint.sh
"""
_ZSH = """_order_service() {
    local at=. word i
    for ((i = 2; i < CURRENT; i++)); do
        word=${words[i]}
        [[ $word != -* ]] && _order_service_offers "$at $word" > /dev/null && at="$at $word"
    done
    word=${words[CURRENT - 1]}
    [[ $word == -* ]] && _order_service_offers "$at $word" > /dev/null && at="$at $word"
    compadd -- ${=$(_order_service_offers "$at")} || _files
}
compdef _order_service entrypoint.sh
"""
SHELLS = {"bash": _BASH, "zsh": _ZSH}


def script(shell: str, other_words: Sequence[str]) -> str:
    """For the shell to read. `other_words`: those that are not of order_service.cli; they are
    offered by their names."""
    (root, words), *offers = _offers(whole_parser(), ".")
    offers = [(root, [*words, *other_words]), (f"{root} completion", list(SHELLS)), *offers]
    cases = [f'        "{at}") echo "{" ".join(words)}" ;;' for at, words in offers]
    return _OFFERS % "\n".join(cases) + SHELLS[shell]


def _offers(parser: argparse.ArgumentParser, at: str) -> Iterator[Offer]:
    """Of the parser itself first, then of what follows it."""
    following: list[Offer] = []
    words: list[str] = []
    for action in parser._actions:
        options = [option for option in action.option_strings if option.startswith("--")]
        words += options
        if isinstance(action, argparse._SubParsersAction):
            words += action.choices
            for name, sub in action.choices.items():
                following += _offers(sub, f"{at} {name}")
        elif action.choices and options:
            following += [(f"{at} {option}", _choices(action)) for option in options]
        elif action.choices:
            words += _choices(action)
    yield at, [*words, *([STATE] if at != "." else [])]
    yield from following


def _choices(action: argparse.Action) -> list[str]:
    choices: Any = action.choices
    return [str(choice) for choice in choices]


def main(argv: Sequence[str]) -> int:
    if not argv or argv[0] not in SHELLS:
        print(f"Say which shell: {' or '.join(SHELLS)}.", file=sys.stderr)
        return 2
    print(script(argv[0], argv[1:]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
