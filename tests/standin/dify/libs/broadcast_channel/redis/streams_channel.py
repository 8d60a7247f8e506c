"""The same interface over Redis Streams: a late subscriber still sees every event."""

from typing import Any, Self

from libs.broadcast_channel.channel import SubscriptionClosedError


class _StreamsSubscription:
    def __init__(self, client: Any, key: str) -> None:
        self._client = client
        self._key = key
        self._last_id = "0-0"
        self._pending: list[bytes] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def receive(self, timeout: float | None = 0.1) -> bytes | None:
        if self._closed:
            raise SubscriptionClosedError
        if not self._pending:
            block = int((timeout or 0.1) * 1000)
            for _, entries in self._client.xread({self._key: self._last_id}, block=block, count=100) or []:
                for entry_id, fields in entries:
                    self._last_id = entry_id
                    self._pending.append(fields[b"data"])
        return self._pending.pop(0) if self._pending else None

    def close(self) -> None:
        self._closed = True


class StreamsTopic:
    def __init__(self, client: Any, key: str) -> None:
        self._client = client
        self._key = f"stream:{key}"

    def publish(self, payload: bytes) -> None:
        self._client.xadd(self._key, {b"data": payload}, maxlen=10000)
        self._client.expire(self._key, 600)

    def subscribe(self) -> _StreamsSubscription:
        return _StreamsSubscription(self._client, self._key)


class StreamsBroadcastChannel:
    def __init__(self, redis_client: Any) -> None:
        self._client = redis_client

    def topic(self, topic: str) -> StreamsTopic:
        return StreamsTopic(self._client, topic)
