"""Streamed workflow and chatflow runs: executed here, their events published for the API to relay."""

import json
import logging
import uuid
from collections.abc import Generator, Mapping
from typing import Any

from celery import shared_task
from graphon.runtime import GraphRuntimeState
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from core.app.apps.advanced_chat.app_generator import AdvancedChatAppGenerator
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, InvokeFrom
from core.app.layers.pause_state_persist_layer import PauseStateLayerConfig, WorkflowResumptionContext
from core.repositories.factory import DifyCoreRepositoryFactory
from extensions.ext_database import db
from libs.datetime_utils import naive_utc_now
from models.account import Account
from models.model import App, AppMode, Conversation, EndUser, Message
from models.workflow import Workflow, WorkflowPause, WorkflowRun

logger = logging.getLogger(__name__)
WORKFLOW_BASED_APP_EXECUTION_QUEUE = "workflow_based_app_execution"


class AppExecutionParams(BaseModel):
    app_id: str
    workflow_id: str
    tenant_id: str
    app_mode: AppMode = AppMode.ADVANCED_CHAT
    user_id: str
    user_is_account: bool = False
    args: Mapping[str, Any]
    invoke_from: InvokeFrom
    streaming: bool = True
    call_depth: int = 0
    root_node_id: str | None = None
    workflow_run_id: str = Field(default_factory=lambda: str(uuid.uuid4()))

    @classmethod
    def new(
        cls,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool = True,
        call_depth: int = 0,
        root_node_id: str | None = None,
        workflow_run_id: str | None = None,
    ) -> "AppExecutionParams":
        return cls(
            app_id=app_model.id,
            workflow_id=workflow.id,
            tenant_id=app_model.tenant_id,
            app_mode=AppMode.value_of(app_model.mode),
            user_id=user.id,
            user_is_account=isinstance(user, Account),
            args=args,
            invoke_from=invoke_from,
            streaming=streaming,
            call_depth=call_depth,
            root_node_id=root_node_id,
            workflow_run_id=workflow_run_id or str(uuid.uuid4()),
        )


class _AppRunner:
    def __init__(self, session_factory: Any, exec_params: AppExecutionParams):
        self._session_factory = sessionmaker(bind=session_factory, expire_on_commit=False)
        self._exec_params = exec_params

    def run(self) -> None:
        params = self._exec_params
        with self._session_factory() as session:
            workflow = session.get(Workflow, params.workflow_id)
            app = session.get(App, workflow.app_id) if workflow else None
            user = session.get(Account if params.user_is_account else EndUser, params.user_id)
            session.expunge_all()
        if workflow is None or app is None or user is None:
            raise ValueError("workflow, app or user not found")
        pause_config = PauseStateLayerConfig(
            session_factory=self._session_factory, state_owner_user_id=workflow.created_by
        )
        with self._session_factory() as session:
            response = self._run_app(
                app=app, workflow=workflow, user=user, pause_state_config=pause_config, session=session
            )
            if not params.streaming:
                return
            assert isinstance(response, Generator)
            _publish_streaming_response(response, params.workflow_run_id, params.app_mode, workflow.id)

    def _run_app(
        self,
        *,
        app: App,
        workflow: Workflow,
        user: Account | EndUser,
        pause_state_config: PauseStateLayerConfig,
        session: Session,
    ) -> Any:
        params = self._exec_params
        if params.app_mode == AppMode.ADVANCED_CHAT:
            return AdvancedChatAppGenerator().generate(
                app_model=app,
                workflow=workflow,
                user=user,
                args=params.args,
                invoke_from=params.invoke_from,
                streaming=params.streaming,
                workflow_run_id=params.workflow_run_id,
                pause_state_config=pause_state_config,
                session=session,
            )
        if params.app_mode == AppMode.WORKFLOW:
            return WorkflowAppGenerator().generate(
                app_model=app,
                workflow=workflow,
                user=user,
                args=params.args,
                invoke_from=params.invoke_from,
                streaming=params.streaming,
                call_depth=params.call_depth,
                root_node_id=params.root_node_id,
                workflow_run_id=params.workflow_run_id,
                pause_state_config=pause_state_config,
            )
        raise ValueError(f"Unsupported app mode: {params.app_mode}")


def _publish_streaming_response(
    response_stream: Generator[str | Mapping[str, Any], None, None],
    workflow_run_id: str | uuid.UUID,
    app_mode: AppMode,
    workflow_id: str,
) -> None:
    topic = MessageBasedAppGenerator.get_response_topic(app_mode, str(workflow_run_id))
    ended = False
    error = "Workflow stream ended without a terminal event"
    try:
        for event in response_stream:
            topic.publish(json.dumps(event, ensure_ascii=False, default=str).encode())
            if isinstance(event, Mapping) and event.get("event") in {"workflow_finished", "workflow_paused"}:
                ended = True
    except Exception as exc:
        error = str(exc)
        raise
    finally:
        if not ended:
            data = {"id": str(workflow_run_id), "workflow_id": workflow_id, "status": "failed", "error": error}
            topic.publish(
                json.dumps(
                    {
                        "event": "workflow_finished",
                        "task_id": str(workflow_run_id),
                        "workflow_run_id": str(workflow_run_id),
                        "data": data,
                    }
                ).encode()
            )


@shared_task(queue=WORKFLOW_BASED_APP_EXECUTION_QUEUE)
def workflow_based_app_execution_task(payload: str) -> None:
    exec_params = AppExecutionParams.model_validate_json(payload)
    logger.info("workflow_based_app_execution_task run with params: %s", exec_params.workflow_run_id)
    _AppRunner(db.engine, exec_params=exec_params).run()


def _resume_app_execution(payload: dict[str, Any]) -> None:
    run_id = payload["workflow_run_id"]
    maker = sessionmaker(bind=db.engine, expire_on_commit=False)
    with maker() as session:
        pause = session.scalar(select(WorkflowPause).where(WorkflowPause.workflow_run_id == run_id))
        run = session.get(WorkflowRun, run_id)
        if pause is None or run is None:
            logger.warning("No pause found for workflow run %s", run_id)
            return
        context = WorkflowResumptionContext.model_validate_json(pause.state)
        workflow = session.get(Workflow, run.workflow_id)
        app = session.get(App, run.app_id)
        user = session.get(EndUser, run.created_by) or session.get(Account, run.created_by)
        message = session.scalar(select(Message).where(Message.workflow_run_id == run_id))
        conversation = session.get(Conversation, message.conversation_id) if message else None
        pause.resumed_at = naive_utc_now()
        session.commit()
        session.expunge_all()
    assert workflow is not None and app is not None and user is not None
    entity = context.get_generate_entity().model_copy(update={"stream": True})
    state = GraphRuntimeState.from_snapshot(context.serialized_graph_runtime_state)
    repository = {
        "session_factory": maker,
        "tenant_id": app.tenant_id,
        "user": user,
        "app_id": app.id,
    }
    common = {
        "app_model": app,
        "workflow": workflow,
        "user": user,
        "application_generate_entity": entity,
        "workflow_execution_repository": DifyCoreRepositoryFactory.create_workflow_execution_repository(
            **repository, triggered_from=run.triggered_from
        ),
        "workflow_node_execution_repository": DifyCoreRepositoryFactory.create_workflow_node_execution_repository(
            **repository, triggered_from="workflow-run"
        ),
        "graph_runtime_state": state,
        "pause_state_config": PauseStateLayerConfig(session_factory=maker, state_owner_user_id=workflow.created_by),
    }
    if isinstance(entity, AdvancedChatAppGenerateEntity):
        assert conversation is not None and message is not None
        with maker() as session:
            conversation, message = session.merge(conversation), session.merge(message)
            response = AdvancedChatAppGenerator().resume(
                **common, conversation=conversation, message=message, session=session
            )
            assert isinstance(response, Generator)
            _publish_streaming_response(response, run_id, AppMode.ADVANCED_CHAT, workflow.id)
        return
    response = WorkflowAppGenerator().resume(**common)
    assert isinstance(response, Generator)
    _publish_streaming_response(response, run_id, AppMode.WORKFLOW, workflow.id)


@shared_task(queue=WORKFLOW_BASED_APP_EXECUTION_QUEUE, name="resume_app_execution")
def resume_app_execution(payload: dict[str, Any]) -> None:
    _resume_app_execution(payload)
