"""Checks the answer while it streams, in a background thread without the caller's context."""

import threading
import time
from typing import Any

from flask import Flask, current_app
from pydantic import BaseModel, ConfigDict

from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.entities.queue_entities import QueueMessageReplaceEvent
from core.moderation.base import ModerationAction, ModerationOutputsResult
from core.moderation.factory import ModerationFactory


class ModerationRule(BaseModel):
    type: str
    config: dict[str, Any]


class OutputModeration(BaseModel):
    tenant_id: str
    app_id: str
    rule: ModerationRule
    queue_manager: AppQueueManager
    thread: threading.Thread | None = None
    thread_running: bool = True
    buffer: str = ""
    is_final_chunk: bool = False
    final_output: str | None = None
    model_config = ConfigDict(arbitrary_types_allowed=True)

    def should_direct_output(self) -> bool:
        return self.final_output is not None

    def get_final_output(self) -> str:
        return self.final_output or ""

    def append_new_token(self, token: str) -> None:
        self.buffer += token
        if not self.thread:
            self.thread = self.start_thread()

    def moderation_completion(self, completion: str, public_event: bool = False) -> tuple[str, bool]:
        self.buffer = completion
        self.is_final_chunk = True
        result = self.moderation(tenant_id=self.tenant_id, app_id=self.app_id, moderation_buffer=completion)
        if not result or not result.flagged:
            return completion, False
        final = result.preset_response if result.action == ModerationAction.DIRECT_OUTPUT else result.text
        if public_event:
            self.queue_manager.publish(
                QueueMessageReplaceEvent(text=final, reason="output_moderation"), PublishFrom.TASK_PIPELINE
            )
        return final, True

    def start_thread(self) -> threading.Thread:
        thread = threading.Thread(
            target=self.worker,
            kwargs={"flask_app": current_app._get_current_object(), "buffer_size": 30},  # type: ignore[attr-defined]
        )
        thread.start()
        return thread

    def stop_thread(self) -> None:
        if self.thread and self.thread.is_alive():
            self.thread_running = False

    def worker(self, flask_app: Flask, buffer_size: int) -> None:
        with flask_app.app_context():
            checked = 0
            while self.thread_running:
                buffer = self.buffer
                if len(buffer) - checked < buffer_size and not self.is_final_chunk:
                    time.sleep(0.05)
                    continue
                checked = len(buffer)
                result = self.moderation(tenant_id=self.tenant_id, app_id=self.app_id, moderation_buffer=buffer)
                if result and result.flagged:
                    self.final_output = result.preset_response
                    self.queue_manager.publish(
                        QueueMessageReplaceEvent(text=self.final_output, reason="output_moderation"),
                        PublishFrom.TASK_PIPELINE,
                    )
                    break

    def moderation(self, tenant_id: str, app_id: str, moderation_buffer: str) -> ModerationOutputsResult | None:
        factory = ModerationFactory(self.rule.type, app_id, tenant_id, self.rule.config)
        return factory.moderation_for_outputs(moderation_buffer)
