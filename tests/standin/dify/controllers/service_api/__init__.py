"""The service API: an application's key, and its requests."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from flask import Blueprint, Response, jsonify, request, stream_with_context
from graphon.model_runtime.errors.invoke import InvokeError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.entities.app_invoke_entities import InvokeFrom, rebuild_entities
from core.db.session_factory import session_factory
from extensions.ext_database import db
from extensions.ext_redis import redis_client
from libs.helper import compact_generate_response
from models.account import Tenant
from models.model import ApiToken, App, AppMode, EndUser
from models.workflow import WorkflowPause, WorkflowRun
from services.app_generate_service import AppGenerateService
from services.audio_service import AudioService
from services.human_input_service import HumanInputService
from services.message_service import MessageService

rebuild_entities()
bp = Blueprint("service_api", __name__, url_prefix="/v1")


def _authorized(session: Session) -> App | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    record = session.scalar(select(ApiToken).where(ApiToken.token == token, ApiToken.type == "app"))
    if record is None:
        return None
    if redis_client.set(f"api_token_last_used:{record.id}", 1, nx=True, ex=60):
        now = datetime.now(UTC).replace(tzinfo=None)
        session.execute(update(ApiToken).where(ApiToken.id == record.id).values(last_used_at=now))
        session.commit()
    app = session.scalar(select(App).where(App.id == record.app_id))
    if app is not None:
        session.scalar(select(Tenant).where(Tenant.id == app.tenant_id))
    return app


def _end_user(session: Session, app: App, name: str) -> EndUser:
    user = session.scalar(
        select(EndUser).where(EndUser.tenant_id == app.tenant_id, EndUser.app_id == app.id, EndUser.session_id == name)
    )
    if user is None:
        user = EndUser(tenant_id=app.tenant_id, app_id=app.id, session_id=name, external_user_id=name)
        session.add(user)
        session.commit()
    return user


def validate_app_token(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with Session(db.engine, expire_on_commit=False) as session:
            app = _authorized(session)
            if app is None:
                return jsonify(code="unauthorized", message="Access token is invalid", status=401), 401
            body = request.get_json(silent=True) or {}
            name = str(body.get("user") or request.args.get("user") or "DEFAULT-USER")
            end_user = _end_user(session, app, name)
            try:
                return view(*args, app_model=app, end_user=end_user, session=session, **kwargs)
            except InvokeError as exc:
                return jsonify(code="completion_request_error", message=str(exc), status=400), 400
            except ValueError as exc:
                return jsonify(code="invalid_param", message=str(exc), status=400), 400

    return decorated


def _generate(app_model: App, end_user: EndUser, session: Session) -> Response:
    args = request.get_json()
    return compact_generate_response(
        AppGenerateService.generate(
            app_model=app_model,
            user=end_user,
            args=args,
            invoke_from=InvokeFrom.SERVICE_API,
            session=session,
            streaming=args.get("response_mode") == "streaming",
        )
    )


@bp.post("/workflows/run")
@validate_app_token
def workflow_run(app_model: App, end_user: EndUser, session: Session) -> Response:
    return _generate(app_model, end_user, session)


@bp.post("/chat-messages")
@validate_app_token
def chat(app_model: App, end_user: EndUser, session: Session) -> Response:
    return _generate(app_model, end_user, session)


@bp.post("/completion-messages")
@validate_app_token
def completion(app_model: App, end_user: EndUser, session: Session) -> Response:
    return _generate(app_model, end_user, session)


@bp.post("/audio-to-text")
@validate_app_token
def audio_to_text(app_model: App, end_user: EndUser, session: Session) -> Any:
    upload = request.files.get("file")
    audio = upload.stream if upload else io.BytesIO(request.get_data())
    return jsonify(AudioService.transcript_asr(app_model, audio, session=session, end_user=end_user.id))


@bp.post("/text-to-audio")
@validate_app_token
def text_to_audio(app_model: App, end_user: EndUser, session: Session) -> Response:
    text = str(request.get_json()["text"])
    chunks = AudioService.transcript_tts(app_model, session=session, text=text, end_user=end_user.id)
    return Response(stream_with_context(iter(chunks)), mimetype="audio/mpeg")


@bp.get("/messages/<message_id>/suggested")
@validate_app_token
def suggested(message_id: str, app_model: App, end_user: EndUser, session: Session) -> Any:
    questions = MessageService.get_suggested_questions_after_answer(
        app_model, end_user, message_id, InvokeFrom.SERVICE_API, session=session
    )
    return jsonify(result="success", data=list(questions))


@bp.post("/messages/<message_id>/feedbacks")
@validate_app_token
def feedbacks(message_id: str, app_model: App, end_user: EndUser, session: Session) -> Any:
    body = request.get_json()
    MessageService.create_feedback(
        app_model=app_model,
        message_id=message_id,
        user=end_user,
        rating=body.get("rating"),
        content=body.get("content"),
        session=session,
    )
    return jsonify(result="success")


@bp.post("/form/human_input/<workflow_run_id>")
@validate_app_token
def human_input(workflow_run_id: str, app_model: App, end_user: EndUser, session: Session) -> Any:
    """Submits the form of a paused run. Dify mails a form's token; the stand-in names the run instead."""
    pause = session.scalar(select(WorkflowPause).where(WorkflowPause.workflow_run_id == workflow_run_id))
    if pause is None:
        raise ValueError("the run is not paused")
    HumanInputService(session_factory.get_session_maker()).submit_form_by_token(
        "standalone_web_app", pause.form_token, "approve", {}, submission_end_user_id=end_user.id
    )
    return jsonify({})


@bp.get("/workflow/<workflow_run_id>/events")
@validate_app_token
def workflow_events(workflow_run_id: str, app_model: App, end_user: EndUser, session: Session) -> Response:
    """Attaches to a run which is on its way."""
    mode = AppMode.value_of(app_model.mode)
    return compact_generate_response(
        MessageBasedAppGenerator.convert_to_event_stream(
            MessageBasedAppGenerator.retrieve_events(mode, workflow_run_id)
        )
    )


@bp.get("/workflows/run/<workflow_run_id>")
@validate_app_token
def workflow_run_detail(workflow_run_id: str, app_model: App, end_user: EndUser, session: Session) -> Any:
    run = session.get(WorkflowRun, workflow_run_id)
    if run is None:
        raise ValueError("Workflow run not found")
    return jsonify(id=run.id, status=run.status, error=run.error, total_tokens=run.total_tokens)
