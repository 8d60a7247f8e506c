"""Webhooks. Dify looks a webhook's id up; the stand-in uses the application's id."""

from types import SimpleNamespace
from typing import Any

from flask import Blueprint, jsonify, request
from sqlalchemy.orm import Session

from extensions.ext_database import db
from models.model import App
from models.workflow import Workflow
from services.trigger.trigger_service import TriggerService
from services.trigger.webhook_service import WebhookService

bp = Blueprint("trigger", __name__, url_prefix="/triggers")


@bp.post("/plugin/<endpoint_id>")
def trigger_endpoint(endpoint_id: str) -> Any:
    response = TriggerService.process_endpoint(endpoint_id, request)
    return response if response is not None else (jsonify(error="Not Found"), 404)


@bp.post("/webhook/<webhook_id>")
def handle_webhook(webhook_id: str) -> Any:
    with Session(db.engine, expire_on_commit=False) as session:
        app = session.get(App, webhook_id)
        workflow = session.get(Workflow, app.workflow_id) if app else None
        session.expunge_all()
    if app is None or workflow is None:
        return jsonify(error="Not Found"), 404
    trigger = SimpleNamespace(app_id=app.id, tenant_id=app.tenant_id, webhook_id=webhook_id, node_id="start")
    WebhookService.trigger_workflow_execution(trigger, request.get_json(silent=True) or {}, workflow)
    return jsonify(status="success", message="Webhook processed successfully")
