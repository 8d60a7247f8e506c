"""Entry module of the API, worker and beat processes: `app`, `celery` and `socketio_app`."""

import sys


def is_db_command() -> bool:
    return len(sys.argv) > 1 and sys.argv[0].endswith("flask") and sys.argv[1] == "db"


if is_db_command():
    from app_factory import create_migrations_app

    app = create_migrations_app()
    socketio_app = app
    flask_app = app
else:
    from app_factory import create_app

    socketio_app, flask_app = create_app()
    app = flask_app
    celery = app.extensions["celery"]

if __name__ == "__main__":
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", 5001, app, threaded=True)
