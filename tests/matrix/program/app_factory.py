"""Dify's application factory in its smallest form: the moment extensions are ready is the moment telemetry starts."""

from flask import Flask


def create_app() -> Flask:
    app = Flask(__name__)
    initialize_extensions(app)
    return app


def initialize_extensions(app: Flask) -> None:
    app.extensions["ready"] = True
