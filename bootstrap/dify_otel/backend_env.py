"""`dify-otel env`: prints the settings that send telemetry to a backend, for a shell, for compose or for Helm.

Separate from `backends` because printing a key is this command's product and nobody else's habit: the settings go to
standard output, remarks and errors (never with a key) to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from typing import Final

from dify_otel.backends import BACKENDS, Backend, BackendError, environment, resolve

CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
KEY_VARIABLES: Final = ("DIFY_OTEL_LICENSE_KEY", "DIFY_OTEL_ARMS_LICENSE_KEY")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `dify-otel env` to `parser`."""
    parser.description = "Print the settings that send telemetry to a backend."
    parser.add_argument("--backend", required=True, choices=BACKENDS)
    parser.add_argument(
        "--endpoint", required=True, help="as the backend's console shows it, with or without port or path"
    )
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--license-key",
        "--licence-key",
        "--key",
        dest="license_key",
        metavar="KEY",
        help=f"the key itself, '-' to read it from standard input (default: one of {', '.join(KEY_VARIABLES)})",
    )
    key.add_argument(
        "--license-key-env",
        "--licence-key-env",
        dest="license_key_env",
        metavar="NAME",
        help="print a reference to the variable NAME (with helm: to a secret's key) in place of the key",
    )
    parser.add_argument("--app-name", help="service.name of a process, service.namespace of a cluster")
    parser.add_argument("--workspace", help="ARMS CMS 2.0: the workspace's name")
    parser.add_argument("--tenant", help="Tempo: the tenant (X-Scope-OrgID)")
    parser.add_argument("--secret", default="dify-otel", metavar="NAME", help="helm: the secret that has the key")
    parser.add_argument("--content", action="store_true", help="record prompts, answers, documents and tool arguments")
    parser.add_argument(
        "--format",
        choices=("env", "compose", "helm"),
        default="env",
        help="env: variables of one process that exports directly; compose: variables of deploy/compose (through its "
        "collector); helm: the same variables as env, as a Kubernetes list",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the settings. Returns 0, or 2 when the endpoint or key cannot be used."""
    name = args.license_key_env
    if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return _refuse("--license-key-env takes the name of a variable")
    reference = None if name is None else f"$({name})" if args.format == "helm" else f"${{{name}}}"
    try:
        backend = resolve(
            args.backend,
            args.endpoint,
            None if name else _given_key(args.license_key),
            args.app_name,
            workspace=args.workspace,
            tenant=args.tenant,
            key_reference=reference,
        )
    except BackendError as error:
        return _refuse(str(error))
    if args.format == "compose" and not backend.exporter:
        return _refuse("the compose collector sends to CMS 2.0 with headers: add --workspace")
    settings = _settings(backend, args)
    lines = {"env": _env_lines, "compose": _compose_lines, "helm": _helm_lines}[args.format](settings, args)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    for note in backend.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.backend in ("arms", "langfuse") and not args.content and args.format != "compose":
        print("note: prompts and answers are not recorded; --content switches that on", file=sys.stderr)
    return 0


def _settings(backend: Backend, args: argparse.Namespace) -> dict[str, str]:
    if args.format != "compose":
        settings = environment(backend)
        if args.format == "helm":
            # One list serves several deployments: each keeps its role's name, the app name is their namespace.
            settings.pop("OTEL_SERVICE_NAME", None)
        if args.content:
            settings[CONTENT] = "SPAN_ONLY"
        return settings
    settings = {"DIFY_OTEL_BACKEND": backend.exporter, **backend.collector_env}
    if backend.service_name:
        settings["DIFY_OTEL_NAMESPACE"] = backend.service_name
    if args.content:
        settings["DIFY_OTEL_CONTENT"] = "SPAN_ONLY"
    return settings


def _env_lines(settings: Mapping[str, str], args: argparse.Namespace) -> Iterable[str]:
    for name, value in settings.items():
        yield f"{name}={_double_quoted(value) if args.license_key_env and '${' in value else shlex.quote(value)}"


def _compose_lines(settings: Mapping[str, str], args: argparse.Namespace) -> Iterable[str]:
    for name, value in settings.items():
        if args.license_key_env and "${" in value:
            yield f"{name}={_double_quoted(value)}"
        elif re.fullmatch(r"[A-Za-z0-9_.:/@%+=,-]*", value):
            yield f"{name}={value}"
        else:
            # Single quotes keep compose from reading `$` in a key; a quote inside is written as compose wants it.
            yield f"{name}='{value.replace(chr(39), chr(92) + chr(39))}'"


def _helm_lines(settings: Mapping[str, str], args: argparse.Namespace) -> Iterable[str]:
    if args.license_key_env:
        # Kubernetes expands $(NAME) only from variables that stand before it in the list.
        yield f"- name: {args.license_key_env}"
        yield f"  valueFrom: {{secretKeyRef: {{name: {json.dumps(args.secret)}, key: license-key}}}}"
    for name, value in settings.items():
        literal = value if args.license_key_env and "$(" in value else value.replace("$(", "$$(")
        yield f"- {{name: {name}, value: {json.dumps(literal)}}}"


def _double_quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _given_key(option: str | None) -> str | None:
    if option == "-":
        return sys.stdin.readline()
    if option is not None:
        return option
    return next((os.environ[name] for name in KEY_VARIABLES if os.environ.get(name)), None)


def _refuse(why: str) -> int:
    print(f"dify-otel env: {why}", file=sys.stderr)
    return 2
