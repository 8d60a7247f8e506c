"""Workflow application: `generate` prepares, `_generate` runs a producer thread, the pipeline drains its queue."""

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
from sqlalchemy import select
from sqlalchemy.orm import sessionmaker

from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.apps.generate_response_converter import AppGenerateResponseConverter
from core.app.apps.workflow.app_config_manager import WorkflowAppConfigManager
from core.app.apps.workflow.app_queue_manager import WorkflowAppQueueManager
from core.app.apps.workflow.app_runner import WorkflowAppRunner
from core.app.apps.workflow.generate_task_pipeline import WorkflowAppGenerateTaskPipeline
from core.app.entities.app_invoke_entities import InvokeFrom, WorkflowAppGenerateEntity
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
from models.model import App, EndUser
from models.workflow import Workflow

logger = logging.getLogger(__name__)


class WorkflowAppGenerator(BaseAppGenerator):
    def generate(
        self,
        *,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool = True,
        call_depth: int = 0,
        workflow_run_id: str | uuid.UUID | None = None,
        triggered_from: WorkflowRunTriggeredFrom | None = None,
        root_node_id: str | None = None,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        pause_state_config: PauseStateLayerConfig | None = None,
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None]:
        trace_manager = TraceQueueManager(
            app_id=app_model.id, user_id=user.id if isinstance(user, Account) else user.session_id
        )
        application_generate_entity = WorkflowAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=WorkflowAppConfigManager.get_app_config(app_model=app_model, workflow=workflow),
            inputs=self._prepare_user_inputs(user_inputs=args.get("inputs"), tenant_id=app_model.tenant_id),
            files=build_from_mappings(mappings=args.get("files") or [], tenant_id=app_model.tenant_id),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            call_depth=call_depth,
            trace_manager=trace_manager,
            workflow_execution_id=str(workflow_run_id or uuid.uuid4()),
            extras={"external_trace_id": args.get("external_trace_id")},
        )
        if triggered_from is None:
            debugging = invoke_from == InvokeFrom.DEBUGGER
            triggered_from = WorkflowRunTriggeredFrom.DEBUGGING if debugging else WorkflowRunTriggeredFrom.APP_RUN
        maker = sessionmaker(bind=db.engine, expire_on_commit=False)
        common = {
            "session_factory": maker,
            "tenant_id": app_model.tenant_id,
            "user": user,
            "app_id": app_model.id,
        }
        return self._generate(
            app_model=app_model,
            workflow=workflow,
            user=user,
            application_generate_entity=application_generate_entity,
            invoke_from=invoke_from,
            workflow_execution_repository=DifyCoreRepositoryFactory.create_workflow_execution_repository(
                **common, triggered_from=triggered_from
            ),
            workflow_node_execution_repository=DifyCoreRepositoryFactory.create_workflow_node_execution_repository(
                **common, triggered_from="workflow-run"
            ),
            streaming=streaming,
            root_node_id=root_node_id,
            graph_engine_layers=graph_engine_layers,
            pause_state_config=pause_state_config,
        )

    def resume(
        self,
        *,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        application_generate_entity: WorkflowAppGenerateEntity,
        graph_runtime_state: GraphRuntimeState,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        pause_state_config: PauseStateLayerConfig | None = None,
        variable_loader: Any = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        return self._generate(
            app_model=app_model,
            workflow=workflow,
            user=user,
            application_generate_entity=application_generate_entity,
            invoke_from=application_generate_entity.invoke_from,
            workflow_execution_repository=workflow_execution_repository,
            workflow_node_execution_repository=workflow_node_execution_repository,
            streaming=application_generate_entity.stream,
            variable_loader=variable_loader,
            graph_engine_layers=graph_engine_layers,
            graph_runtime_state=graph_runtime_state,
            pause_state_config=pause_state_config,
            response_stream_filter=response_stream_filter,
        )

    def _generate(
        self,
        *,
        app_model: App,
        workflow: Workflow,
        user: Account | EndUser,
        application_generate_entity: WorkflowAppGenerateEntity,
        invoke_from: InvokeFrom,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        streaming: bool = True,
        variable_loader: Any = None,
        root_node_id: str | None = None,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        graph_runtime_state: GraphRuntimeState | None = None,
        pause_state_config: PauseStateLayerConfig | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        layers = list(graph_engine_layers)
        queue_manager = WorkflowAppQueueManager(
            task_id=application_generate_entity.task_id,
            user_id=application_generate_entity.user_id,
            invoke_from=application_generate_entity.invoke_from,
            app_mode=app_model.mode,
        )
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
        db.session.close()
        worker_thread = threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                "application_generate_entity": application_generate_entity,
                "queue_manager": queue_manager,
                "context": context,
                "variable_loader": variable_loader,
                "root_node_id": root_node_id,
                "workflow_execution_repository": workflow_execution_repository,
                "workflow_node_execution_repository": workflow_node_execution_repository,
                "graph_engine_layers": tuple(layers),
                "graph_runtime_state": graph_runtime_state,
                "response_stream_filter": stream_filter,
            },
        )
        worker_thread.start()
        try:
            response = self._handle_response(
                application_generate_entity=application_generate_entity,
                workflow=workflow,
                queue_manager=queue_manager,
                user=user,
                draft_var_saver_factory=None,
                stream=streaming,
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
        application_generate_entity: WorkflowAppGenerateEntity,
        queue_manager: AppQueueManager,
        context: contextvars.Context,
        variable_loader: Any,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        root_node_id: str | None = None,
        graph_engine_layers: Sequence[GraphEngineLayer] = (),
        graph_runtime_state: GraphRuntimeState | None = None,
        response_stream_filter: ResponseStreamFilter | None = None,
    ) -> None:
        with preserve_flask_contexts(flask_app, context_vars=context):
            config = application_generate_entity.app_config
            with session_factory.create_session() as session:
                workflow = session.scalar(
                    select(Workflow).where(
                        Workflow.tenant_id == config.tenant_id,
                        Workflow.app_id == config.app_id,
                        Workflow.id == config.workflow_id,
                    )
                )
                if workflow is None:
                    raise ValueError("Workflow not found")
                system_user_id = application_generate_entity.user_id
                if application_generate_entity.invoke_from in {InvokeFrom.WEB_APP, InvokeFrom.SERVICE_API}:
                    end_user = session.scalar(select(EndUser).where(EndUser.id == application_generate_entity.user_id))
                    system_user_id = end_user.session_id if end_user else ""
            runner = WorkflowAppRunner(
                application_generate_entity=application_generate_entity,
                queue_manager=queue_manager,
                variable_loader=variable_loader,
                workflow=workflow,
                system_user_id=system_user_id,
                root_node_id=root_node_id,
                workflow_execution_repository=workflow_execution_repository,
                workflow_node_execution_repository=workflow_node_execution_repository,
                graph_engine_layers=graph_engine_layers,
                graph_runtime_state=graph_runtime_state,
                response_stream_filter=response_stream_filter,
            )
            try:
                runner.run()
            except GenerateTaskStoppedError as exc:
                logger.warning("Task stopped: %s", exc)
            except InvokeAuthorizationError:
                queue_manager.publish_error(
                    InvokeAuthorizationError("Incorrect API key provided"), PublishFrom.APPLICATION_MANAGER
                )
            except Exception as exc:
                logger.exception("Error when generating")
                queue_manager.publish_error(exc, PublishFrom.APPLICATION_MANAGER)

    def _handle_response(
        self,
        application_generate_entity: WorkflowAppGenerateEntity,
        workflow: Workflow,
        queue_manager: AppQueueManager,
        user: Account | EndUser,
        draft_var_saver_factory: Any,
        stream: bool = False,
    ) -> Any:
        pipeline = WorkflowAppGenerateTaskPipeline(
            application_generate_entity=application_generate_entity,
            workflow=workflow,
            queue_manager=queue_manager,
            user=user,
            draft_var_saver_factory=draft_var_saver_factory,
            stream=stream,
        )
        return pipeline.process()
