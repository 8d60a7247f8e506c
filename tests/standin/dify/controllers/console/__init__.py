"""The part of the console API which runs one node of a draft."""

import uuid
from typing import Any

from flask import Blueprint, jsonify, request
from graphon.graph_events import NodeRunFailedEvent, NodeRunSucceededEvent
from graphon.runtime import VariablePool
from graphon.workflow_type_encoder import WorkflowRuntimeTypeConverter
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.workflow.system_variables import add_variables_to_pool, build_system_variables
from core.workflow.workflow_entry import WorkflowEntry
from extensions.ext_database import db
from models.account import Account
from models.model import App
from models.workflow import Workflow

bp = Blueprint("console", __name__, url_prefix="/console/api")


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
