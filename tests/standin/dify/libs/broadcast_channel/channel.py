"""Publish and subscribe, as the API and the worker see it."""

from types import TracebackType
from typing import Protocol, Self


class SubscriptionClosedError(Exception):
    pass


class Subscription(Protocol):
    def receive(self, timeout: float | None = 0.1) -> bytes | None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class Topic(Protocol):
    def publish(self, payload: bytes) -> None: ...

    def subscribe(self) -> Subscription: ...
