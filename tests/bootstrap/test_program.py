"""Which processes are watched: the tables of `start.program`, `start.role_of` and the worker pool."""

from __future__ import annotations

from typing import Any

import pytest
from dify_otel import start

PYTHON = "/app/api/.venv/bin/python3"

COMMANDS: list[tuple[str, str | None]] = [
    ("gunicorn --bind 0.0.0.0:5001 --worker-class gevent app:socketio_app", "api"),
    ("/app/api/.venv/bin/gunicorn app:app", "api"),
    ("-m gunicorn app:app", "api"),
    ("-m gunicorn.app.wsgiapp app:app", "api"),
    ("-u -X dev -W ignore -m gunicorn app:app", "api"),
    ("-mgunicorn app:app", "api"),
    ("/app/api/.venv/bin/celery -A celery_entrypoint.celery worker -P gevent -c 1 -Q dataset,mail", "worker"),
    ("-m celery -A app.celery worker -P prefork", "worker"),
    ("celery -A app.celery beat --loglevel INFO", "beat"),
    ("celery -A app.celery worker -Q beat", "worker"),
    ("celery -A app.celery inspect ping", None),
    ("celery -A app.celery flower", None),
    ("celery --version", None),
    ("flask run --host 0.0.0.0 --port 5001", "api"),
    ("flask --app app:app --debug run", "api"),
    ("-m flask run", "api"),
    ("flask db upgrade", None),
    ("flask -A app db upgrade", None),
    ("flask --app app --env-file .env db upgrade", None),
    ("flask upgrade-db", None),
    ("flask", None),
    ("flask --help", None),
    ("flask vdb-migrate", "job"),
    ("flask reset-password --email a@example.com", "job"),
    ("flask create-tenant --email db", "job"),
    ("-m app", "api"),
    ("app.py", "api"),
    ("/app/api/app.py", "api"),
    ("-c import+gunicorn", None),
    ("-cprint(1)", None),
    ("-", None),
    ("", None),
    ("-m pip install gunicorn", None),
    ("-m uv sync", None),
    ("-m pytest", None),
    ("-I", None),
    ("/usr/bin/supervisord gunicorn", None),
    ("/opt/plugin/main.py", None),
    ("-m main", None),
    ("-m venv gunicorn", None),
    ("/usr/local/bin/pip install celery", None),
    ("-m json.tool", None),
    ("-X importtime -m celery -A app worker", "worker"),
    ("--check-hash-based-pycs always -m app", "api"),
    ("-Ximporttime -Wdefault -mapp", "api"),
]


@pytest.mark.parametrize(("command", "role"), COMMANDS)
def test_role(command: str, role: str | None) -> None:
    words = [w.replace("+", " ") for w in command.split()]
    if words and not words[0].startswith("-") and "/" not in words[0] and words[0] != "app.py":
        words[0] = f"/usr/local/bin/{words[0]}"
    assert start.role_of(*start.program([PYTHON, *words])) == role


@pytest.mark.parametrize("argv", [[], [PYTHON], [PYTHON, "-m"], [PYTHON, "-X"], [PYTHON, "-W", "-m"], ["", ""]])
def test_broken_command_lines_have_no_role(argv: list[str]) -> None:
    assert start.role_of(*start.program(argv)) is None


@pytest.mark.parametrize(
    ("arguments", "forks"),
    [
        ("celery -A app worker", True),
        ("celery -A app worker -P prefork", True),
        ("celery -A app worker --pool=prefork", True),
        ("celery -A app worker --pool prefork", True),
        ("celery -A app worker -P processes", True),
        ("celery -A app worker -Pprefork", True),
        ("celery -A app worker -P gevent", False),
        ("celery -A app worker --pool=gevent", False),
        ("celery -A app worker -Pgevent", False),
        ("celery -A app worker --pool solo", False),
        ("celery -A app worker --pool=threads", False),
        ("celery -A app worker -P eventlet", False),
        ("celery -A app worker -P", True),
    ],
)
def test_which_pools_fork(arguments: str, forks: bool) -> None:
    assert start._prefork(arguments.split()) is forks


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ["/inject"]),
        ({"PYTHONPATH": ""}, ["/inject"]),
        ({"PYTHONPATH": "/otel/auto:/app"}, ["/inject", "/app"]),
        ({"PYTHONPATH": "/app:/otel/auto/:/inject:/lib"}, ["/inject", "/app", "/lib"]),
    ],
)
def test_the_environment_to_start_over_with(before: dict[str, str], after: list[str]) -> None:
    import os

    from dify_otel import distro

    given: dict[str, Any] = {"KEPT": "1", "OTEL_PYTHON_DISTRO": "dify", "OTEL_PYTHON_CONFIGURATOR": "other", **before}
    untouched = dict(given)
    new = distro.environment(given, "/inject", "/otel/auto")
    assert given == untouched
    assert new["PYTHONPATH"].split(os.pathsep) == after
    assert new[distro.MARK] == str(os.getpid())
    assert new["KEPT"] == "1"
    assert "OTEL_PYTHON_DISTRO" not in new and new["OTEL_PYTHON_CONFIGURATOR"] == "other"
