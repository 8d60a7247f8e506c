"""Settings of the stand-in: the attribute names Dify's `dify_config` has, read from the same environment names."""

import os
from dataclasses import dataclass, field
from types import SimpleNamespace


def _text(name: str, default: str = "") -> str:
    return os.environ.get(name) or default


def _flag(name: str, default: bool = False) -> bool:
    return _text(name, str(default)).lower() in {"1", "true", "yes"}


def _database_uri() -> str:
    explicit = _text("SQLALCHEMY_DATABASE_URI")
    if explicit:
        return explicit
    user, password = _text("DB_USERNAME", "postgres"), _text("DB_PASSWORD")
    host, port, name = _text("DB_HOST", "127.0.0.1"), _text("DB_PORT", "5432"), _text("DB_DATABASE", "dify")
    credentials = f"{user}:{password}" if password else user
    return f"postgresql+psycopg2://{credentials}@{host}:{port}/{name}"


@dataclass
class DifyConfig:
    DEBUG: bool = field(default_factory=lambda: _flag("DEBUG"))
    SECRET_KEY: str = field(default_factory=lambda: _text("SECRET_KEY", "standin"))
    APPLICATION_NAME: str = field(default_factory=lambda: _text("APPLICATION_NAME", "langgenius/dify"))
    COMMIT_SHA: str = field(default_factory=lambda: _text("COMMIT_SHA", "standin"))
    DEPLOY_ENV: str = field(default_factory=lambda: _text("DEPLOY_ENV", "TESTING"))
    EDITION: str = field(default_factory=lambda: _text("EDITION", "SELF_HOSTED"))
    project: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(version="1.16.1"))

    SQLALCHEMY_DATABASE_URI: str = field(default_factory=_database_uri)
    SQLALCHEMY_POOL_SIZE: int = field(default_factory=lambda: int(_text("SQLALCHEMY_POOL_SIZE", "30")))

    REDIS_HOST: str = field(default_factory=lambda: _text("REDIS_HOST", "127.0.0.1"))
    REDIS_PORT: int = field(default_factory=lambda: int(_text("REDIS_PORT", "6379")))
    REDIS_PASSWORD: str = field(default_factory=lambda: _text("REDIS_PASSWORD"))
    REDIS_DB: int = field(default_factory=lambda: int(_text("REDIS_DB", "0")))
    CELERY_BROKER_URL: str = field(default_factory=lambda: _text("CELERY_BROKER_URL", "redis://127.0.0.1:6379/1"))
    PUBSUB_REDIS_CHANNEL_TYPE: str = field(
        default_factory=lambda: _text("EVENT_BUS_REDIS_CHANNEL_TYPE") or _text("PUBSUB_REDIS_CHANNEL_TYPE", "pubsub")
    )

    PLUGIN_DAEMON_URL: str = field(default_factory=lambda: _text("PLUGIN_DAEMON_URL", "http://127.0.0.1:5002"))
    PLUGIN_DAEMON_KEY: str = field(default_factory=lambda: _text("PLUGIN_DAEMON_KEY", "plugin-api-key"))
    PLUGIN_DAEMON_TIMEOUT: float = field(default_factory=lambda: float(_text("PLUGIN_DAEMON_TIMEOUT", "60")))
    INNER_API_KEY_FOR_PLUGIN: str = field(default_factory=lambda: _text("INNER_API_KEY_FOR_PLUGIN", "inner-key"))
    CODE_EXECUTION_ENDPOINT: str = field(
        default_factory=lambda: _text("CODE_EXECUTION_ENDPOINT", "http://127.0.0.1:8194")
    )
    CODE_EXECUTION_API_KEY: str = field(default_factory=lambda: _text("CODE_EXECUTION_API_KEY", "dify-sandbox"))

    APP_MAX_EXECUTION_TIME: int = field(default_factory=lambda: int(_text("APP_MAX_EXECUTION_TIME", "1200")))
    APP_DEFAULT_ACTIVE_REQUESTS: int = 0
    APP_MAX_ACTIVE_REQUESTS: int = field(default_factory=lambda: int(_text("APP_MAX_ACTIVE_REQUESTS", "0")))
    WORKFLOW_MAX_EXECUTION_STEPS: int = 500
    WORKFLOW_MAX_EXECUTION_TIME: int = 1200
    WORKFLOW_CALL_MAX_DEPTH: int = 5
    GRAPH_ENGINE_MIN_WORKERS: int = field(default_factory=lambda: int(_text("GRAPH_ENGINE_MIN_WORKERS", "1")))
    GRAPH_ENGINE_MAX_WORKERS: int = field(default_factory=lambda: int(_text("GRAPH_ENGINE_MAX_WORKERS", "10")))
    RETRIEVAL_SERVICE_EXECUTORS: int = field(default_factory=lambda: int(_text("RETRIEVAL_SERVICE_EXECUTORS", "2")))
    SSRF_DEFAULT_MAX_RETRIES: int = 3

    ENABLE_OTEL: bool = field(default_factory=lambda: _flag("ENABLE_OTEL"))
    OTEL_EXPORTER_TYPE: str = field(default_factory=lambda: _text("OTEL_EXPORTER_TYPE", "otlp"))
    OTEL_EXPORTER_OTLP_PROTOCOL: str = field(default_factory=lambda: _text("OTEL_EXPORTER_OTLP_PROTOCOL"))
    OTLP_BASE_ENDPOINT: str = field(default_factory=lambda: _text("OTLP_BASE_ENDPOINT", "http://127.0.0.1:4318"))
    OTLP_TRACE_ENDPOINT: str = field(default_factory=lambda: _text("OTLP_TRACE_ENDPOINT"))
    OTLP_METRIC_ENDPOINT: str = field(default_factory=lambda: _text("OTLP_METRIC_ENDPOINT"))
    OTLP_API_KEY: str = field(default_factory=lambda: _text("OTLP_API_KEY"))
    OTEL_SAMPLING_RATE: float = field(default_factory=lambda: float(_text("OTEL_SAMPLING_RATE", "0.1")))
    OTEL_MAX_QUEUE_SIZE: int = field(default_factory=lambda: int(_text("OTEL_MAX_QUEUE_SIZE", "2048")))
    OTEL_BATCH_EXPORT_SCHEDULE_DELAY: int = field(
        default_factory=lambda: int(_text("OTEL_BATCH_EXPORT_SCHEDULE_DELAY", "5000"))
    )
    OTEL_MAX_EXPORT_BATCH_SIZE: int = field(default_factory=lambda: int(_text("OTEL_MAX_EXPORT_BATCH_SIZE", "512")))
    OTEL_BATCH_EXPORT_TIMEOUT: int = field(default_factory=lambda: int(_text("OTEL_BATCH_EXPORT_TIMEOUT", "10000")))
    OTEL_METRIC_EXPORT_INTERVAL: int = field(default_factory=lambda: int(_text("OTEL_METRIC_EXPORT_INTERVAL", "60000")))
    OTEL_METRIC_EXPORT_TIMEOUT: int = field(default_factory=lambda: int(_text("OTEL_METRIC_EXPORT_TIMEOUT", "30000")))


dify_config = DifyConfig()
