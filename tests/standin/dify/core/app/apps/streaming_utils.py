"""Reads a run's events from its topic; the task is started once the subscription stands."""

import json
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from core.app.entities.task_entities import StreamEvent
from libs.broadcast_channel.channel import SubscriptionClosedError


def stream_topic_events(
    *,
    topic: Any,
    idle_timeout: float,
    ping_interval: float | None = None,
    on_subscribe: Callable[[], None] | None = None,
    terminal_events: Iterable[str | StreamEvent] | None = None,
) -> Generator[Mapping[str, Any] | str, None, None]:
    yield StreamEvent.PING.value
    ends = {str(event) for event in terminal_events or (StreamEvent.WORKFLOW_FINISHED, StreamEvent.WORKFLOW_PAUSED)}
    last_message = last_ping = time.time()
    with topic.subscribe() as subscription:
        if on_subscribe is not None:
            on_subscribe()
        while True:
            try:
                payload = subscription.receive(timeout=1)
            except SubscriptionClosedError:
                return
            now = time.time()
            if payload is None:
                if now - last_message > idle_timeout:
                    return
                if ping_interval is not None and now - last_ping >= ping_interval:
                    yield StreamEvent.PING.value
                    last_ping = now
                continue
            last_message = last_ping = now
            event = json.loads(payload)
            yield event
            if isinstance(event, dict) and event.get("event") in ends:
                return
