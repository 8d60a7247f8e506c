"""The engine and the scoped session (`db.session`)."""

from flask_sqlalchemy import SQLAlchemy

from configs import dify_config
from dify_app import DifyApp
from models.base import Base

db = SQLAlchemy(model_class=Base)


def init_app(app: DifyApp) -> None:
    if dify_config.SQLALCHEMY_DATABASE_URI.startswith("sqlite"):
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 60, "check_same_thread": False}}
    else:
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
            "pool_size": dify_config.SQLALCHEMY_POOL_SIZE,
            "max_overflow": 10,
            "pool_recycle": 3600,
            "connect_args": {"options": "-c timezone=UTC"},
        }
    db.init_app(app)
    # Models must be known before any query; the engine is built when first used.
    import models  # noqa: F401
