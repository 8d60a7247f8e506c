"""Keeps a paused run: its entity and the engine's state, until a form brings it back."""

from dataclasses import dataclass
from typing import Any, Literal

from graphon.filters import ResponseStreamFilter
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.graph_events import GraphEngineEvent, GraphRunPausedEvent
from pydantic import BaseModel
from sqlalchemy.orm import Session, sessionmaker

from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, WorkflowAppGenerateEntity
from core.workflow.system_variables import get_system_text
from models.base import new_id
from models.workflow import WorkflowPause


class WorkflowResumptionContext(BaseModel):
    kind: Literal["advanced-chat", "workflow"]
    generate_entity: dict[str, Any]
    serialized_graph_runtime_state: str

    def get_generate_entity(self) -> AdvancedChatAppGenerateEntity | WorkflowAppGenerateEntity:
        cls = AdvancedChatAppGenerateEntity if self.kind == "advanced-chat" else WorkflowAppGenerateEntity
        return cls.model_validate(self.generate_entity)


@dataclass(slots=True)
class PauseStateLayerConfig:
    session_factory: sessionmaker[Session]
    state_owner_user_id: str


class PauseStatePersistenceLayer(GraphEngineLayer):
    def __init__(
        self,
        session_factory: sessionmaker[Session],
        generate_entity: AdvancedChatAppGenerateEntity | WorkflowAppGenerateEntity,
        state_owner_user_id: str,
        response_stream_filter: ResponseStreamFilter | None = None,
    ):
        super().__init__()
        self._session_maker = session_factory
        self._generate_entity = generate_entity

    def on_graph_start(self) -> None:
        pass

    def on_event(self, event: GraphEngineEvent) -> None:
        if not isinstance(event, GraphRunPausedEvent):
            return
        entity = self._generate_entity
        context = WorkflowResumptionContext(
            kind="advanced-chat" if isinstance(entity, AdvancedChatAppGenerateEntity) else "workflow",
            generate_entity=entity.model_dump(mode="json"),
            serialized_graph_runtime_state=self.graph_runtime_state.dumps(),
        )
        run_id = get_system_text(self.graph_runtime_state.variable_pool, "workflow_run_id") or ""
        with self._session_maker() as session:
            session.add(WorkflowPause(workflow_run_id=run_id, form_token=new_id(), state=context.model_dump_json()))
            session.commit()

    def on_graph_end(self, error: Exception | None) -> None:
        pass
