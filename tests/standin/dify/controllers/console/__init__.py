"""The part of the console API which runs one node of a draft."""

import uuid
from typing import Any

from flask import Blueprint, Response, jsonify, request
from graphon.graph_events import NodeRunFailedEvent, NodeRunSucceededEvent
from graphon.runtime import VariablePool
from graphon.workflow_type_encoder import WorkflowRuntimeTypeConverter
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.local import LocalProxy

from core.app.entities.app_invoke_entities import InvokeFrom
from core.workflow.system_variables import add_variables_to_pool, build_system_variables
from core.workflow.workflow_entry import WorkflowEntry
from extensions.ext_database import db
from libs.helper import compact_generate_response
from models.account import Account
from models.dataset import Pipeline
from models.model import App
from models.workflow import Workflow
from services.app_generate_service import AppGenerateService
from services.rag_pipeline.pipeline_generate_service import PipelineGenerateService

bp = Blueprint("console", __name__, url_prefix="/console/api")


def _account(session: Session) -> Any:
    """As many releases hand it on: flask-login's proxy of the account."""
    account = session.scalar(select(Account).limit(1))
    if account is None:
        raise ValueError("no account")
    return LocalProxy(lambda: account)


def _debug(app_id: str) -> Response:
    args = request.get_json()
    with Session(db.engine, expire_on_commit=False) as session:
        app, account = session.get(App, app_id), _account(session)
        if app is None:
            raise ValueError("no app")
        return compact_generate_response(
            AppGenerateService.generate(
                app_model=app,
                user=account,
                args=args,
                invoke_from=InvokeFrom.DEBUGGER,
                session=session,
                streaming=args.get("response_mode") == "streaming",
            )
        )


@bp.post("/apps/<app_id>/chat-messages")
def console_chat(app_id: str) -> Response:
    return _debug(app_id)


@bp.post("/apps/<app_id>/workflows/draft/run")
def draft_workflow_run(app_id: str) -> Response:
    return _debug(app_id)


@bp.post("/rag/pipelines/<pipeline_id>/workflows/published/run")
def published_pipeline_run(pipeline_id: str) -> Response:
    with Session(db.engine, expire_on_commit=False) as session:
        pipeline = session.get(Pipeline, pipeline_id)
        if pipeline is None:
            raise ValueError("no pipeline")
        result = PipelineGenerateService.generate(
            pipeline=pipeline,
            user=_account(session),
            args=request.get_json(),
            invoke_from=InvokeFrom.PUBLISHED_PIPELINE,
            streaming=False,
            session=session,
        )
        return compact_generate_response(result)


@bp.post("/apps/<app_id>/workflows/draft/nodes/<node_id>/run")
def draft_node_run(app_id: str, node_id: str) -> Any:
    body = request.get_json()
    with Session(db.engine, expire_on_commit=False) as session:
        app = session.get(App, app_id)
        workflow = session.scalar(select(Workflow).where(Workflow.app_id == app_id, Workflow.version == "draft"))
        account = session.scalar(select(Account).limit(1))
        if app is None or workflow is None or account is None:
            return jsonify(code="not_found", status=404), 404
        session.expunge_all()
    pool = VariablePool()
    add_variables_to_pool(
        pool,
        build_system_variables(
            workflow_execution_id=str(uuid.uuid4()), query=body.get("query") or "", user_id=account.id, app_id=app_id
        ),
    )
    node, events = WorkflowEntry.single_step_run(
        workflow=workflow,
        node_id=node_id,
        user_id=account.id,
        user_inputs=body.get("inputs") or {},
        variable_pool=pool,
    )
    for event in events:
        if isinstance(event, NodeRunSucceededEvent | NodeRunFailedEvent):
            result = event.node_run_result
            return jsonify(
                id=node.execution_id,
                node_id=node.id,
                status=result.status.value,
                error=result.error,
                outputs=WorkflowRuntimeTypeConverter().to_json_encodable(dict(result.outputs)),
            )
    return jsonify(code="no_result", status=500), 500
