"""Where every API request to an application enters."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from configs import dify_config
from core.app.apps.advanced_chat.app_generator import AdvancedChatAppGenerator
from core.app.apps.agent_app.app_generator import AgentAppGenerator
from core.app.apps.agent_chat.app_generator import AgentChatAppGenerator
from core.app.apps.chat.app_generator import ChatAppGenerator
from core.app.apps.completion.app_generator import CompletionAppGenerator
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.entities.app_invoke_entities import InvokeFrom
from core.app.features.rate_limiting import RateLimit
from core.app.features.rate_limiting.rate_limit import rate_limit_context
from core.app.layers.pause_state_persist_layer import PauseStateLayerConfig
from core.db.session_factory import session_factory
from extensions.otel import AppGenerateHandler, trace_span
from models.account import Account
from models.model import App, AppMode, EndUser
from models.workflow import Workflow
from tasks.app_generate.workflow_execute_task import AppExecutionParams, workflow_based_app_execution_task

logger = logging.getLogger(__name__)

SSE_TASK_START_FALLBACK_MS = 200


class AppGenerateService:
    @staticmethod
    def _build_streaming_task_on_subscribe(start_task: Callable[[], None]) -> Callable[[], None]:
        started = False
        lock = threading.Lock()

        def _try_start() -> bool:
            nonlocal started
            with lock:
                if started:
                    return True
                try:
                    start_task()
                except Exception:
                    logger.exception("Failed to enqueue streaming task")
                    return False
                started = True
                return True

        if dify_config.PUBSUB_REDIS_CHANNEL_TYPE == "streams":
            _try_start()
            return lambda: _try_start() and None
        # Nobody may ever subscribe: then the run starts anyway.
        timer = threading.Timer(SSE_TASK_START_FALLBACK_MS / 1000.0, _try_start)
        timer.daemon = True
        timer.start()

        def _on_subscribe() -> None:
            if _try_start():
                timer.cancel()

        return _on_subscribe

    @classmethod
    @trace_span(AppGenerateHandler)
    def generate(
        cls,
        app_model: App,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        *,
        session: Session,
        streaming: bool = True,
        root_node_id: str | None = None,
    ) -> Any:
        return cls._run_with_guardrails(
            app_model=app_model,
            streaming=streaming,
            action=lambda rate_limit, request_id: cls._dispatch_generate(
                app_model=app_model,
                user=user,
                args=args,
                invoke_from=invoke_from,
                streaming=streaming,
                root_node_id=root_node_id,
                session=session,
                rate_limit=rate_limit,
                request_id=request_id,
            ),
        )

    @classmethod
    def _run_with_guardrails(cls, *, app_model: App, streaming: bool, action: Callable[[RateLimit, str], Any]) -> Any:
        rate_limit = RateLimit(app_model.id, cls._get_max_active_requests(app_model))
        request_id = RateLimit.gen_request_key()
        try:
            request_id = rate_limit.enter(request_id)
            return action(rate_limit, request_id)
        except Exception:
            if streaming:
                rate_limit.exit(request_id)
            raise
        finally:
            if not streaming:
                rate_limit.exit(request_id)

    @classmethod
    def _dispatch_generate(
        cls,
        *,
        app_model: App,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool,
        root_node_id: str | None,
        session: Session,
        rate_limit: RateLimit,
        request_id: str,
    ) -> Any:
        common: dict[str, Any] = {
            "app_model": app_model,
            "user": user,
            "args": args,
            "invoke_from": invoke_from,
            "streaming": streaming,
        }
        agent = app_model.is_agent_with_session(session=session)
        match AppMode.AGENT_CHAT if agent else app_model.mode:
            case AppMode.COMPLETION:
                return rate_limit.generate(
                    CompletionAppGenerator.convert_to_event_stream(
                        CompletionAppGenerator().generate(session=session, **common)
                    ),
                    request_id=request_id,
                )
            case AppMode.AGENT_CHAT:
                return rate_limit.generate(
                    AgentChatAppGenerator.convert_to_event_stream(
                        AgentChatAppGenerator().generate(session=session, **common)
                    ),
                    request_id,
                )
            case AppMode.AGENT:
                return rate_limit.generate(
                    AgentAppGenerator.convert_to_event_stream(AgentAppGenerator().generate(session=session, **common)),
                    request_id,
                )
            case AppMode.CHAT:
                return rate_limit.generate(
                    ChatAppGenerator.convert_to_event_stream(ChatAppGenerator().generate(session=session, **common)),
                    request_id=request_id,
                )
            case AppMode.ADVANCED_CHAT | AppMode.WORKFLOW:
                workflow = cls._get_workflow(app_model, invoke_from, args.get("workflow_id"), session=session)
                if streaming:
                    return cls._in_the_worker(common, workflow, root_node_id, rate_limit, request_id)
                pause_config = PauseStateLayerConfig(
                    session_factory=session_factory.get_session_maker(), state_owner_user_id=workflow.created_by
                )
                if app_model.mode == AppMode.WORKFLOW:
                    return rate_limit.generate(
                        WorkflowAppGenerator.convert_to_event_stream(
                            WorkflowAppGenerator().generate(
                                workflow=workflow,
                                root_node_id=root_node_id,
                                call_depth=0,
                                pause_state_config=pause_config,
                                **common,
                            )
                        ),
                        request_id,
                    )
                return rate_limit.generate(
                    AdvancedChatAppGenerator.convert_to_event_stream(
                        AdvancedChatAppGenerator().generate(
                            workflow=workflow,
                            workflow_run_id=str(uuid.uuid4()),
                            pause_state_config=pause_config,
                            session=session,
                            **common,
                        )
                    ),
                    request_id=request_id,
                )
            case _:
                raise ValueError(f"Invalid app mode {app_model.mode}")

    @classmethod
    def _in_the_worker(
        cls,
        common: dict[str, Any],
        workflow: Workflow,
        root_node_id: str | None,
        rate_limit: RateLimit,
        request_id: str,
    ) -> Any:
        with rate_limit_context(rate_limit, request_id):
            payload = AppExecutionParams.new(
                workflow=workflow,
                call_depth=0,
                root_node_id=root_node_id,
                workflow_run_id=str(uuid.uuid4()),
                **common,
            )
            payload_json = payload.model_dump_json()

        def on_subscribe() -> None:
            workflow_based_app_execution_task.delay(payload_json)

        return rate_limit.generate(
            MessageBasedAppGenerator.convert_to_event_stream(
                MessageBasedAppGenerator.retrieve_events(
                    payload.app_mode,
                    payload.workflow_run_id,
                    on_subscribe=cls._build_streaming_task_on_subscribe(on_subscribe),
                )
            ),
            request_id=request_id,
        )

    @staticmethod
    def _get_max_active_requests(app: App) -> int:
        limits = [
            limit
            for limit in (
                app.max_active_requests or dify_config.APP_DEFAULT_ACTIVE_REQUESTS,
                dify_config.APP_MAX_ACTIVE_REQUESTS,
            )
            if limit > 0
        ]
        return min(limits) if limits else 0

    @classmethod
    def generate_single_iteration(
        cls,
        app_model: App,
        user: Account,
        node_id: str,
        args: Any,
        *,
        session: Session,
        streaming: bool = True,
    ) -> Any:
        raise NotImplementedError("the stand-in runs single nodes, not single iterations")

    @classmethod
    def generate_single_loop(
        cls,
        app_model: App,
        user: Account,
        node_id: str,
        args: Any,
        *,
        session: Session,
        streaming: bool = True,
    ) -> Any:
        raise NotImplementedError("the stand-in runs single nodes, not single loops")

    @classmethod
    def generate_more_like_this(
        cls,
        app_model: App,
        user: Account | EndUser,
        message_id: str,
        invoke_from: InvokeFrom,
        *,
        session: Session,
        streaming: bool = True,
    ) -> Mapping[str, Any] | Any:
        return CompletionAppGenerator().generate_more_like_this(
            app_model=app_model,
            message_id=message_id,
            user=user,
            invoke_from=invoke_from,
            stream=streaming,
            session=session,
        )

    @classmethod
    def _get_workflow(
        cls, app_model: App, invoke_from: InvokeFrom, workflow_id: str | None = None, *, session: Session
    ) -> Workflow:
        statement = select(Workflow).where(Workflow.app_id == app_model.id)
        if workflow_id:
            statement = statement.where(Workflow.id == workflow_id)
        elif invoke_from == InvokeFrom.DEBUGGER:
            statement = statement.where(Workflow.version == "draft")
        else:
            statement = statement.where(Workflow.id == app_model.workflow_id)
        workflow = session.scalar(statement)
        if workflow is None:
            raise ValueError("Workflow not published")
        return workflow
