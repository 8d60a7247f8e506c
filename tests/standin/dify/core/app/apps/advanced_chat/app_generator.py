"""Chatflow application: a workflow whose run belongs to a conversation and a message."""

import contextvars
import logging
import threading
import uuid
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from flask import Flask, current_app
from graphon.filters import ResponseStreamFilter
from graphon.graph_engine.layers import GraphEngineLayer
from graphon.model_runtime.errors.invoke import InvokeAuthorizationError
from graphon.runtime import GraphRuntimeState
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from core.app.apps.advanced_chat.app_config_manager import AdvancedChatAppConfigManager
from core.app.apps.advanced_chat.app_runner import AdvancedChatAppRunner
from core.app.apps.advanced_chat.generate_task_pipeline import (
    AdvancedChatAppGenerateTaskPipeline,
    ConversationSnapshot,
    MessageSnapshot,
    WorkflowSnapshot,
)
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.apps.generate_response_converter import AppGenerateResponseConverter
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.message_based_app_queue_manager import MessageBasedAppQueueManager
from core.app.entities.app_invoke_entities import AdvancedChatAppGenerateEntity, InvokeFrom
from core.app.layers.pause_state_persist_layer import PauseStateLayerConfig, PauseStatePersistenceLayer
from core.db.session_factory import session_factory
from core.ops.ops_trace_manager import TraceQueueManager
from core.repositories.factory import (
    DifyCoreRepositoryFactory,
    WorkflowExecutionRepository,
    WorkflowNodeExecutionRepository,
)
from extensions.ext_database import db
from factories.file_factory import build_from_mappings
from libs.flask_utils import preserve_flask_contexts
from models.account import Account
from models.enums import WorkflowRunTriggeredFrom
from models.model import App, Conversation, EndUser, Message
from models.workflow import Workflow

logger = logging.getLogger(__name__)


class AdvancedChatAppGenerator(MessageBasedAppGenerator):
    _dialogue_count: int

    def generate(
        self,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        workflow_run_id: str,
        streaming: bool = True,
        pause_state_config: PauseStateLayerConfig | None = None,
        *,
        session: Session,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        if not args.get("query"):
            raise ValueError("query is required")
        conversation: Conversation | None = None
        if args.get("conversation_id"):
            conversation = session.get(Conversation, args["conversation_id"])
            if conversation is None:
                raise ValueError("Conversation Not Exists.")
        trace_manager = TraceQueueManager(
            app_id=app_model.id, user_id=user.id if isinstance(user, Account) else user.session_id
        )
        application_generate_entity = AdvancedChatAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=AdvancedChatAppConfigManager.get_app_config(app_model=app_model, workflow=workflow),
            conversation_id=conversation.id if conversation else None,
            inputs=self._prepare_user_inputs(user_inputs=args.get("inputs"), tenant_id=app_model.tenant_id),
            query=str(args["query"]).replace("\x00", ""),
            files=build_from_mappings(mappings=args.get("files") or [], tenant_id=app_model.tenant_id),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            extras={"auto_generate_conversation_name": args.get("auto_generate_name", True)},
            trace_manager=trace_manager,
            workflow_run_id=str(workflow_run_id),
        )
        common = {
            "session_factory": sessionmaker(bind=db.engine, expire_on_commit=False),
            "tenant_id": app_model.tenant_id,
            "user": user,
            "app_id": app_model.id,
        }
        return self._generate(
            workflow=workflow,
            user=user,
            invoke_from=invoke_from,
            application_generate_entity=application_generate_entity,
            session=session,
            workflow_execution_repository=DifyCoreRepositoryFactory.create_workflow_execution_repository(
                **common, triggered_from=WorkflowRunTriggeredFrom.APP_RUN
            ),
            workflow_node_execution_repository=DifyCoreRepositoryFactory.create_workflow_node_execution_repository(
                **common, triggered_from="workflow-run"
            ),
            conversation=conversation,
            stream=streaming,
            pause_state_config=pause_state_config,
        )

    def resume(
        self,
        *,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        conversation: Conversation,
        message: Message,
        session: Session,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        graph_runtime_state: GraphRuntimeState,
        pause_state_config: PauseStateLayerConfig | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        return self._generate(
            workflow=workflow,
            user=user,
            invoke_from=application_generate_entity.invoke_from,
            application_generate_entity=application_generate_entity,
            session=session,
            workflow_execution_repository=workflow_execution_repository,
            workflow_node_execution_repository=workflow_node_execution_repository,
            conversation=conversation,
            message=message,
            stream=application_generate_entity.stream,
            pause_state_config=pause_state_config,
            graph_runtime_state=graph_runtime_state,
            response_stream_filter=response_stream_filter,
        )

    def _generate(
        self,
        *,
        workflow: Workflow,
        user: Account | EndUser,
        invoke_from: InvokeFrom,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        session: Session,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        conversation: Conversation | None = None,
        message: Message | None = None,
        stream: bool = True,
        variable_loader: Any = None,
        pause_state_config: PauseStateLayerConfig | None = None,
        graph_runtime_state: GraphRuntimeState | None = None,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        if conversation is None or message is None:
            conversation, message = self._init_generate_records(
                application_generate_entity, conversation, session=session
            )
        session.refresh(conversation)
        earlier = session.scalar(
            select(func.count()).select_from(Message).where(Message.conversation_id == conversation.id)
        )
        self._dialogue_count = earlier or 1
        queue_manager = MessageBasedAppQueueManager(
            task_id=application_generate_entity.task_id,
            user_id=application_generate_entity.user_id,
            invoke_from=application_generate_entity.invoke_from,
            conversation_id=conversation.id,
            app_mode=conversation.mode,
            message_id=message.id,
        )
        layers = list(graph_engine_layers)
        stream_filter = response_stream_filter or ResponseStreamFilter()
        if pause_state_config is not None:
            layers.append(
                PauseStatePersistenceLayer(
                    session_factory=pause_state_config.session_factory,
                    generate_entity=application_generate_entity,
                    state_owner_user_id=pause_state_config.state_owner_user_id,
                    response_stream_filter=stream_filter,
                )
            )
        context = contextvars.copy_context()
        worker_thread = threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                "application_generate_entity": application_generate_entity,
                "queue_manager": queue_manager,
                "conversation_id": conversation.id,
                "message_id": message.id,
                "context": context,
                "variable_loader": variable_loader,
                "workflow_execution_repository": workflow_execution_repository,
                "workflow_node_execution_repository": workflow_node_execution_repository,
                "graph_engine_layers": tuple(layers),
                "graph_runtime_state": graph_runtime_state,
                "response_stream_filter": stream_filter,
            },
        )
        worker_thread.start()
        workflow_snapshot = WorkflowSnapshot.from_workflow(workflow)
        conversation_snapshot = ConversationSnapshot.from_conversation(conversation)
        message_snapshot = MessageSnapshot.from_message(message)
        session.close()
        try:
            response = self._handle_advanced_chat_response(
                application_generate_entity=application_generate_entity,
                workflow=workflow_snapshot,
                queue_manager=queue_manager,
                conversation=conversation_snapshot,
                message=message_snapshot,
                user=user,
                draft_var_saver_factory=None,
                stream=stream,
            )
            converted = AppGenerateResponseConverter.convert(response=response, invoke_from=invoke_from)
        except BaseException:
            self._join_worker_thread(worker_thread)
            raise
        if isinstance(converted, Generator):
            return self._wrap_stream_with_worker_thread_join(converted, worker_thread)
        self._join_worker_thread(worker_thread)
        return converted

    def _generate_worker(
        self,
        flask_app: Flask,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation_id: str,
        message_id: str,
        context: contextvars.Context,
        variable_loader: Any,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        graph_runtime_state: GraphRuntimeState | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> None:
        with preserve_flask_contexts(flask_app, context_vars=context):
            conversation = self._get_conversation(conversation_id)
            message = self._get_message(message_id)
            config = application_generate_entity.app_config
            with session_factory.create_session() as session:
                workflow = session.scalar(
                    select(Workflow).where(
                        Workflow.tenant_id == config.tenant_id,
                        Workflow.app_id == config.app_id,
                        Workflow.id == config.workflow_id,
                    )
                )
                app = session.scalar(select(App).where(App.id == config.app_id))
                system_user_id = application_generate_entity.user_id
                if application_generate_entity.invoke_from in {InvokeFrom.WEB_APP, InvokeFrom.SERVICE_API}:
                    end_user = session.scalar(select(EndUser).where(EndUser.id == application_generate_entity.user_id))
                    system_user_id = end_user.session_id if end_user else ""
            if workflow is None or app is None:
                raise ValueError("Workflow not found")
            runner = AdvancedChatAppRunner(
                application_generate_entity=application_generate_entity,
                queue_manager=queue_manager,
                conversation=conversation,
                message=message,
                dialogue_count=getattr(self, "_dialogue_count", 1),
                variable_loader=variable_loader,
                workflow=workflow,
                system_user_id=system_user_id,
                app=app,
                workflow_execution_repository=workflow_execution_repository,
                workflow_node_execution_repository=workflow_node_execution_repository,
                graph_engine_layers=graph_engine_layers,
                graph_runtime_state=graph_runtime_state,
                response_stream_filter=response_stream_filter,
            )
            try:
                runner.run()
            except GenerateTaskStoppedError:
                pass
            except InvokeAuthorizationError:
                queue_manager.publish_error(
                    InvokeAuthorizationError("Incorrect API key provided"), PublishFrom.APPLICATION_MANAGER
                )
            except Exception as exc:
                logger.exception("Error when generating")
                queue_manager.publish_error(exc, PublishFrom.APPLICATION_MANAGER)
            finally:
                db.session.close()

    def _handle_advanced_chat_response(
        self,
        *,
        application_generate_entity: AdvancedChatAppGenerateEntity,
        workflow: WorkflowSnapshot,
        queue_manager: AppQueueManager,
        conversation: ConversationSnapshot,
        message: MessageSnapshot,
        user: Account | EndUser,
        draft_var_saver_factory: Any,
        stream: bool = False,
    ) -> Any:
        pipeline = AdvancedChatAppGenerateTaskPipeline(
            application_generate_entity=application_generate_entity,
            workflow=workflow,
            queue_manager=queue_manager,
            conversation=conversation,
            message=message,
            user=user,
            stream=stream,
            dialogue_count=self._dialogue_count,
            draft_var_saver_factory=draft_var_saver_factory,
        )
        return pipeline.process()
