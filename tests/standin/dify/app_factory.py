"""Builds the Flask application and its extensions, in Dify's order: the database first, OpenTelemetry near the end."""

import socketio
from flask import Response
from opentelemetry.trace import get_current_span

from configs import dify_config
from dify_app import DifyApp
from extensions.ext_socketio import sio


def create_flask_app_with_configs() -> DifyApp:
    dify_app = DifyApp(__name__)
    dify_app.config["SQLALCHEMY_DATABASE_URI"] = dify_config.SQLALCHEMY_DATABASE_URI
    dify_app.config["SECRET_KEY"] = dify_config.SECRET_KEY

    @dify_app.after_request
    def add_trace_headers(response: Response) -> Response:
        context = get_current_span().get_span_context()
        if context.is_valid:
            response.headers.setdefault("X-Trace-Id", format(context.trace_id, "032x"))
            response.headers.setdefault("X-Span-Id", format(context.span_id, "016x"))
        return response

    return dify_app


def create_app() -> tuple[socketio.WSGIApp, DifyApp]:
    app = create_flask_app_with_configs()
    initialize_extensions(app)
    sio.app = app
    socketio_app = socketio.WSGIApp(sio, app)
    return socketio_app, app


def initialize_extensions(app: DifyApp):
    from context.flask_app_context import init_flask_context
    from extensions import (
        ext_blueprints,
        ext_celery,
        ext_database,
        ext_logging,
        ext_otel,
        ext_redis,
        ext_session_factory,
    )

    init_flask_context()
    for extension in (
        ext_logging,
        ext_database,
        ext_redis,
        ext_celery,
        ext_blueprints,
        ext_otel,
        ext_session_factory,
    ):
        is_enabled = extension.is_enabled() if hasattr(extension, "is_enabled") else True
        if is_enabled:
            extension.init_app(app)


def create_migrations_app() -> DifyApp:
    app = create_flask_app_with_configs()
    from extensions import ext_database

    ext_database.init_app(app)
    return app
