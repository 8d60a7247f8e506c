"""The library instrumentations Dify switches on with ENABLE_OTEL."""

from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

from dify_app import DifyApp
from extensions.otel.runtime import is_celery_worker


def init_flask_instrumentor(app: DifyApp) -> None:
    from opentelemetry.instrumentation.flask import FlaskInstrumentor

    FlaskInstrumentor().instrument_app(app)


def init_sqlalchemy_instrumentor(app: DifyApp) -> None:
    with app.app_context():
        engines = list(app.extensions["sqlalchemy"].engines.values())
        SQLAlchemyInstrumentor().instrument(enable_commenter=True, engines=engines)


def init_instruments(app: DifyApp) -> None:
    if not is_celery_worker():
        init_flask_instrumentor(app)
        CeleryInstrumentor().instrument()
    init_sqlalchemy_instrumentor(app)
    RedisInstrumentor().instrument()
    HTTPXClientInstrumentor().instrument()
