"""`dify-otel`: what a person types. Knows the commands' names and nothing of their insides until one is asked for.

Separate from the commands so that `--help` and completion answer at once, whatever a command would need to run.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from dify_otel import __version__

COMMANDS = {
    "doctor": ("dify_otel.doctor.command", "what works here, what does not, and what to do about it"),
    "env": ("dify_otel.backend_env", "the settings that send telemetry to a backend"),
    "tail": ("dify_otel.tail.command", "watch requests as trees in this terminal, no backend needed"),
    "demo": ("dify_otel.demo.command", "one request of a Dify-shaped app, as one trace"),
}

DESCRIPTION = "OpenTelemetry for self-hosted Dify: one request, one trace, without changing a line of Dify."

EPILOG = """\
examples:
  dify-otel doctor                                   is it working here?
  dify-otel env --backend arms --endpoint … --license-key-env KEY
  dify-otel tail                                     watch requests on this machine
  dify-otel tail --errors --html traces/             keep a page of each failed one
  eval "$(dify-otel completion bash)"                completion for this shell

exit codes:
  0 done · 1 degraded or failed · 2 not working, or not understood · 130 interrupted
  Each command's --help says more. NO_COLOR switches colour off.
"""


def _parser(command: str | None) -> argparse.ArgumentParser:
    """The whole grammar's first level; of `command` the second as well (all commands when it is `*`)."""
    parser = argparse.ArgumentParser(
        "dify-otel", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"dify-otel {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, (module, words) in COMMANDS.items():
        sub = commands.add_parser(name, help=words, description=words)
        if command in (name, "*"):
            try:
                importlib.import_module(module).add_arguments(sub)
            except ModuleNotFoundError as error:
                sub.set_defaults(missing=error.name)
    completion = commands.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    commands.add_parser("version", help="print the version")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    chosen = next((w for w in words if not w.startswith("-")), None)
    parser = _parser(chosen)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return 0
    if arguments.command == "version":
        print(f"dify-otel {__version__}")
        return 0
    if arguments.command == "completion":
        print(completion(arguments.shell))
        return 0
    missing = getattr(arguments, "missing", None)
    if missing:
        print(f"dify-otel {arguments.command} is not part of this installation (missing: {missing})", file=sys.stderr)
        return 2
    try:
        return int(importlib.import_module(COMMANDS[arguments.command][0]).run(arguments))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: nothing to say, and nowhere to say it.
        sys.stderr.close()
        return 1


# --- completion


def _words() -> dict[str, list[str]]:
    """Options by command; the first level under an empty name."""
    parser = _parser("*")
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    out = {"": [*action.choices, *(o for a in parser._actions for o in a.option_strings if o.startswith("--"))]}
    for name, sub in action.choices.items():
        options = [o for a in sub._actions for o in a.option_strings if o.startswith("--")]
        values = [str(c) for a in sub._actions if not a.option_strings and a.choices for c in a.choices]
        out[name] = [*values, *options]
    return out


def completion(shell: str) -> str:
    """A completion script made of the parsers as they are."""
    words = _words()
    first = " ".join(words.pop(""))
    if shell == "fish":
        lines = ["complete -c dify-otel -f"]
        lines.append(f"complete -c dify-otel -n __fish_use_subcommand -a '{first}'")
        for name, options in words.items():
            lines.append(f"complete -c dify-otel -F -n '__fish_seen_subcommand_from {name}' -a '{' '.join(options)}'")
        return "\n".join(lines)
    cases = "\n".join(f"    {name}) words='{' '.join(options)}' ;;" for name, options in words.items())
    bash = f"""_dify_otel() {{
  local words current="${{COMP_WORDS[COMP_CWORD]}}"
  case "${{COMP_WORDS[1]}}" in
{cases}
    *) words='{first}' ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then words='{first}'; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _dify_otel dify-otel"""
    return bash if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


if __name__ == "__main__":
    raise SystemExit(main())
