"""Knowledge pipeline: a published one hands its runs to the worker, one for each file or page."""

import contextvars
import secrets
import threading
import time
import uuid
from collections.abc import Generator, Mapping
from typing import Any

from flask import Flask, current_app
from sqlalchemy.orm import Session, sessionmaker

from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.base_app_queue_manager import PublishFrom
from core.app.apps.generate_response_converter import AppGenerateResponseConverter
from core.app.apps.pipeline.pipeline_runner import PipelineRunner
from core.app.apps.workflow.app_config_manager import WorkflowAppConfig
from core.app.apps.workflow.app_queue_manager import WorkflowAppQueueManager
from core.app.apps.workflow.generate_task_pipeline import WorkflowAppGenerateTaskPipeline
from core.app.entities.app_invoke_entities import InvokeFrom, RagPipelineGenerateEntity
from core.app.entities.rag_pipeline_invoke_entities import RagPipelineInvokeEntity
from core.repositories.factory import (
    DifyCoreRepositoryFactory,
    WorkflowExecutionRepository,
    WorkflowNodeExecutionRepository,
)
from extensions.ext_database import db
from libs.flask_utils import preserve_flask_contexts
from models.account import Account
from models.dataset import Document, Pipeline
from models.enums import WorkflowRunTriggeredFrom
from models.model import AppMode, EndUser
from models.workflow import Workflow
from services.rag_pipeline.rag_pipeline_task_proxy import RagPipelineTaskProxy


class PipelineGenerator(BaseAppGenerator):
    def generate(
        self,
        *,
        session: Session,
        pipeline: Pipeline,
        workflow: Workflow,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool = True,
        call_depth: int = 0,
        workflow_thread_pool_id: str | None = None,
        is_retry: bool = False,
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None] | None:
        batch = time.strftime("%Y%m%d%H%M%S") + str(secrets.randbelow(900000) + 100000)
        config = WorkflowAppConfig(
            tenant_id=pipeline.tenant_id,
            app_id=pipeline.id,
            app_mode=AppMode.RAG_PIPELINE,
            workflow_id=workflow.id,
        )
        invoke_entities, documents = [], []
        for datasource_info in args["datasource_info_list"]:
            document = Document(tenant_id=pipeline.tenant_id, dataset_id=pipeline.dataset_id, name="from the pipeline")
            session.add(document)
            session.flush()
            documents.append(document.id)
            entity = RagPipelineGenerateEntity(
                task_id=str(uuid.uuid4()),
                app_config=config,
                pipeline_config=config,
                datasource_type=args["datasource_type"],
                datasource_info=datasource_info,
                dataset_id=pipeline.dataset_id,
                start_node_id=args["start_node_id"],
                batch=batch,
                document_id=document.id,
                inputs=self._prepare_user_inputs(user_inputs=args["inputs"], tenant_id=pipeline.tenant_id),
                files=[],
                user_id=user.id,
                stream=streaming,
                invoke_from=invoke_from,
                call_depth=call_depth,
                workflow_execution_id=str(uuid.uuid4()),
            )
            if invoke_from == InvokeFrom.DEBUGGER or is_retry:
                executions, nodes = repositories(pipeline, user, WorkflowRunTriggeredFrom.RAG_PIPELINE_DEBUGGING)
                return self._generate(
                    session=session,
                    flask_app=current_app._get_current_object(),  # type: ignore[attr-defined]
                    context=contextvars.copy_context(),
                    pipeline=pipeline,
                    workflow_id=workflow.id,
                    user=user,
                    application_generate_entity=entity,
                    invoke_from=invoke_from,
                    workflow_execution_repository=executions,
                    workflow_node_execution_repository=nodes,
                    streaming=streaming,
                    workflow_thread_pool_id=workflow_thread_pool_id,
                )
            invoke_entities.append(
                RagPipelineInvokeEntity(
                    pipeline_id=pipeline.id,
                    user_id=user.id,
                    tenant_id=pipeline.tenant_id,
                    workflow_id=workflow.id,
                    streaming=streaming,
                    workflow_execution_id=entity.workflow_execution_id,
                    workflow_thread_pool_id=workflow_thread_pool_id,
                    application_generate_entity=entity.model_dump(),
                )
            )
        session.commit()
        RagPipelineTaskProxy(pipeline.tenant_id, user.id, invoke_entities).delay()
        return {"batch": batch, "documents": documents}

    def _generate(
        self,
        *,
        session: Session,
        flask_app: Flask,
        context: contextvars.Context,
        pipeline: Pipeline,
        workflow_id: str,
        user: Account | EndUser,
        application_generate_entity: RagPipelineGenerateEntity,
        invoke_from: InvokeFrom,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
        streaming: bool = True,
        variable_loader: Any = None,
        workflow_thread_pool_id: str | None = None,
    ) -> Mapping[str, Any] | Generator[str | Mapping[str, Any], None, None]:
        with preserve_flask_contexts(flask_app, context_vars=context):
            workflow = session.get(Workflow, workflow_id)
            if workflow is None:
                raise ValueError(f"Workflow not found: {workflow_id}")
            entity = application_generate_entity
            queue_manager = WorkflowAppQueueManager(
                task_id=entity.task_id,
                user_id=entity.user_id,
                invoke_from=entity.invoke_from,
                app_mode=AppMode.RAG_PIPELINE,
            )
            worker_thread = threading.Thread(
                target=self._generate_worker,
                kwargs={
                    "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                    "context": contextvars.copy_context(),
                    "queue_manager": queue_manager,
                    "application_generate_entity": entity,
                    "variable_loader": variable_loader,
                    "workflow": workflow,
                    "workflow_execution_repository": workflow_execution_repository,
                    "workflow_node_execution_repository": workflow_node_execution_repository,
                },
            )
            worker_thread.start()
            pipeline_response = WorkflowAppGenerateTaskPipeline(
                application_generate_entity=entity,
                workflow=workflow,
                queue_manager=queue_manager,
                user=user,
                stream=streaming,
                draft_var_saver_factory=None,
            ).process()
            converted = AppGenerateResponseConverter.convert(response=pipeline_response, invoke_from=invoke_from)
            if isinstance(converted, Generator):
                return self._wrap_stream_with_worker_thread_join(converted, worker_thread)
            self._join_worker_thread(worker_thread)
            return converted

    def _generate_worker(
        self,
        flask_app: Flask,
        application_generate_entity: RagPipelineGenerateEntity,
        queue_manager: Any,
        context: contextvars.Context,
        variable_loader: Any,
        workflow: Workflow,
        workflow_execution_repository: WorkflowExecutionRepository,
        workflow_node_execution_repository: WorkflowNodeExecutionRepository,
    ) -> None:
        with preserve_flask_contexts(flask_app, context_vars=context):
            try:
                PipelineRunner(
                    application_generate_entity=application_generate_entity,
                    queue_manager=queue_manager,
                    variable_loader=variable_loader,
                    workflow=workflow,
                    system_user_id=application_generate_entity.user_id,
                    workflow_execution_repository=workflow_execution_repository,
                    workflow_node_execution_repository=workflow_node_execution_repository,
                ).run()
            except Exception as exc:
                queue_manager.publish_error(exc, PublishFrom.APPLICATION_MANAGER)


def repositories(
    pipeline: Pipeline, user: Account | EndUser, triggered_from: WorkflowRunTriggeredFrom
) -> tuple[WorkflowExecutionRepository, WorkflowNodeExecutionRepository]:
    common = {
        "session_factory": sessionmaker(bind=db.engine, expire_on_commit=False),
        "tenant_id": pipeline.tenant_id,
        "user": user,
        "app_id": pipeline.id,
    }
    return (
        DifyCoreRepositoryFactory.create_workflow_execution_repository(**common, triggered_from=triggered_from),
        DifyCoreRepositoryFactory.create_workflow_node_execution_repository(
            **common, triggered_from="rag-pipeline-run"
        ),
    )
