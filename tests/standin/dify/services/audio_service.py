from collections.abc import Iterable
from typing import Any

from graphon.model_runtime.entities.model_entities import ModelType
from sqlalchemy.orm import Session

from core.model_manager import ModelManager
from models.model import App


class AudioService:
    @classmethod
    def transcript_asr(
        cls, app_model: App, file: Any, *, session: Session, end_user: str | None = None
    ) -> dict[str, str]:
        instance = ModelManager.for_tenant(app_model.tenant_id, end_user).get_default_model_instance(
            app_model.tenant_id, ModelType.SPEECH2TEXT
        )
        return {"text": instance.invoke_speech2text(file=file)}

    @classmethod
    def transcript_tts(
        cls,
        app_model: App,
        *,
        session: Session,
        text: str | None = None,
        voice: str | None = None,
        end_user: str | None = None,
        message_ref: Any = None,
        is_draft: bool = False,
    ) -> Iterable[bytes]:
        instance = ModelManager.for_tenant(app_model.tenant_id, end_user).get_default_model_instance(
            app_model.tenant_id, ModelType.TTS
        )
        return instance.invoke_tts(content_text=(text or "").strip(), voice=voice or "stub")
