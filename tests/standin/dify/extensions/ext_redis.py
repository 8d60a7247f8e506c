"""`redis_client` and the channel on which a worker's events reach the API."""

from typing import Any

import redis

from configs import dify_config
from dify_app import DifyApp
from libs.broadcast_channel.redis.channel import BroadcastChannel
from libs.broadcast_channel.redis.streams_channel import StreamsBroadcastChannel


class RedisClientWrapper:
    """Importable before Redis is configured; every attribute is the real client's."""

    def __init__(self) -> None:
        self._client: Any = None

    def initialize(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            raise RuntimeError("Redis client is not initialized. Call init_app first.")
        return getattr(self._client, name)


redis_client: Any = RedisClientWrapper()


def init_app(app: DifyApp) -> None:
    pool = redis.ConnectionPool(
        host=dify_config.REDIS_HOST,
        port=dify_config.REDIS_PORT,
        password=dify_config.REDIS_PASSWORD or None,
        db=dify_config.REDIS_DB,
        decode_responses=False,
    )
    redis_client.initialize(redis.Redis(connection_pool=pool))
    app.extensions["redis"] = redis_client


def get_pubsub_broadcast_channel() -> BroadcastChannel | StreamsBroadcastChannel:
    if dify_config.PUBSUB_REDIS_CHANNEL_TYPE == "streams":
        return StreamsBroadcastChannel(redis_client)
    return BroadcastChannel(redis_client)
