"""The runs of a published knowledge pipeline: each in a thread of a pool that knows nothing of the task's context."""

import contextvars
import json
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import shared_task
from flask import current_app
from sqlalchemy.orm import sessionmaker

from core.app.entities.app_invoke_entities import InvokeFrom, RagPipelineGenerateEntity
from core.app.entities.rag_pipeline_invoke_entities import RagPipelineInvokeEntity
from extensions.ext_database import db
from extensions.ext_redis import redis_client
from models.account import Account
from models.dataset import Pipeline
from models.enums import WorkflowRunTriggeredFrom


@shared_task(queue="pipeline")
def rag_pipeline_run_task(rag_pipeline_invoke_entities_file_id: str, tenant_id: str) -> None:
    entities = json.loads(redis_client.get(f"rag-pipeline:{rag_pipeline_invoke_entities_file_id}") or "[]")
    flask_app = current_app._get_current_object()  # type: ignore[attr-defined]
    with ThreadPoolExecutor(max_workers=10) as executor:
        futures = [executor.submit(run_single_rag_pipeline_task, entity, flask_app) for entity in entities]
        for future in futures:
            try:
                future.result()
            except Exception:
                logging.exception("Error in pipeline task")


def run_single_rag_pipeline_task(rag_pipeline_invoke_entity: Mapping[str, Any], flask_app: Any) -> None:
    with flask_app.app_context():
        from core.app.apps.pipeline.pipeline_generator import PipelineGenerator, repositories

        invoke = RagPipelineInvokeEntity.model_validate(rag_pipeline_invoke_entity)
        with sessionmaker(db.engine, expire_on_commit=False).begin() as session:
            account = session.get(Account, invoke.user_id)
            pipeline = session.get(Pipeline, invoke.pipeline_id)
            if account is None or pipeline is None:
                raise ValueError("account or pipeline not found")
            executions, nodes = repositories(pipeline, account, WorkflowRunTriggeredFrom.RAG_PIPELINE_RUN)
            PipelineGenerator()._generate(
                session=session,
                flask_app=flask_app,
                context=contextvars.copy_context(),
                pipeline=pipeline,
                workflow_id=invoke.workflow_id,
                user=account,
                application_generate_entity=RagPipelineGenerateEntity.model_validate(
                    invoke.application_generate_entity
                ),
                invoke_from=InvokeFrom.PUBLISHED_PIPELINE,
                workflow_execution_repository=executions,
                workflow_node_execution_repository=nodes,
                streaming=invoke.streaming,
                workflow_thread_pool_id=invoke.workflow_thread_pool_id,
            )
