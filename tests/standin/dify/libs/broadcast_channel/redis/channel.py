"""Redis PUBLISH/SUBSCRIBE behind the topic interface; a daemon thread listens and fills a queue, as in Dify."""

import queue
import threading
from typing import Any, Self

from redis import Redis

from libs.broadcast_channel.channel import SubscriptionClosedError


class _RedisSubscription:
    def __init__(self, client: Any, topic: str) -> None:
        self._pubsub = client.pubsub()
        self._topic = topic
        self._queue: queue.Queue[bytes] = queue.Queue(maxsize=1024)
        self._closed = threading.Event()
        self._listener: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._pubsub.subscribe(self._topic)
        # The first message is Redis' answer to SUBSCRIBE: without it the producer could start too early.
        self._pubsub.get_message(timeout=5)
        self._listener = threading.Thread(target=self._listen, name=f"redis-broadcast-{self._topic}", daemon=True)
        self._listener.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _listen(self) -> None:
        while not self._closed.is_set():
            message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=0.1)
            if message is not None and message["type"] == "message":
                self._queue.put(message["data"])
        self._pubsub.unsubscribe()
        self._pubsub.close()

    def receive(self, timeout: float | None = 0.1) -> bytes | None:
        if self._closed.is_set():
            raise SubscriptionClosedError
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None

    def close(self) -> None:
        self._closed.set()
        if self._listener is not None:
            self._listener.join(timeout=1)


class Topic:
    def __init__(self, redis_client: "Redis[bytes]", topic: str) -> None:
        self._client = redis_client
        self._topic = topic

    def publish(self, payload: bytes) -> None:
        self._client.publish(self._topic, payload)

    def subscribe(self) -> _RedisSubscription:
        return _RedisSubscription(self._client, self._topic)


class BroadcastChannel:
    def __init__(self, redis_client: "Redis[bytes]") -> None:
        self._client = redis_client

    def topic(self, topic: str) -> Topic:
        return Topic(self._client, topic)
