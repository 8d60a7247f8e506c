"""The agent application of 1.15: chat's records and pipeline, the agent backend's answer."""

import contextvars
import logging
import threading
import uuid
from collections.abc import Generator, Mapping
from types import SimpleNamespace
from typing import Any

from flask import Flask, current_app
from sqlalchemy.orm import Session

from clients.agent_backend.client import DifyAgentBackendRunClient
from configs import dify_config
from core.app.app_config.easy_ui import ModelConfigConverter
from core.app.apps.agent_app.app_runner import AgentAppRunner
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.chat.app_config_manager import ChatAppConfigManager
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.apps.generate_response_converter import AppGenerateResponseConverter
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.message_based_app_queue_manager import MessageBasedAppQueueManager
from core.app.entities.app_invoke_entities import AgentAppGenerateEntity, DifyRunContext, InvokeFrom, UserFrom
from core.ops.ops_trace_manager import TraceQueueManager
from dify_agent.client import Client
from extensions.ext_database import db
from libs.flask_utils import preserve_flask_contexts
from models.account import Account
from models.model import App, Conversation, EndUser

logger = logging.getLogger(__name__)


class AgentAppGenerator(MessageBasedAppGenerator):
    def generate(
        self,
        *,
        app_model: App,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        session: Session,
        streaming: bool = True,
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None]:
        if not streaming:
            raise ValueError("Agent App only supports streaming mode")
        conversation: Conversation | None = None
        if args.get("conversation_id"):
            conversation = session.get(Conversation, args["conversation_id"])
        app_config = ChatAppConfigManager.get_app_config(
            app_model=app_model,
            app_model_config=self._get_app_model_config(app_model=app_model, session=session),
            conversation=conversation,
        )
        trace_manager = TraceQueueManager(
            app_id=app_model.id, user_id=user.id if isinstance(user, Account) else user.session_id
        )
        application_generate_entity = AgentAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=app_config,
            model_conf=ModelConfigConverter.convert(app_config),
            conversation_id=conversation.id if conversation else None,
            inputs=self._prepare_user_inputs(user_inputs=args.get("inputs"), tenant_id=app_model.tenant_id),
            query=str(args["query"]).replace("\x00", ""),
            files=[],
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            extras={"auto_generate_conversation_name": args.get("auto_generate_name", True)},
            trace_manager=trace_manager,
            agent_id=str(uuid.uuid5(uuid.NAMESPACE_OID, app_model.id)),
            agent_config_snapshot_id=str(uuid.uuid5(uuid.NAMESPACE_URL, app_model.id)),
        )
        conversation, message = self._init_generate_records(application_generate_entity, conversation, session=session)
        queue_manager = MessageBasedAppQueueManager(
            task_id=application_generate_entity.task_id,
            user_id=application_generate_entity.user_id,
            invoke_from=application_generate_entity.invoke_from,
            conversation_id=conversation.id,
            app_mode=conversation.mode,
            message_id=message.id,
        )
        worker_thread = threading.Thread(
            target=self._generate_worker,
            kwargs={
                "flask_app": current_app._get_current_object(),  # type: ignore[attr-defined]
                "context": contextvars.copy_context(),
                "application_generate_entity": application_generate_entity,
                "queue_manager": queue_manager,
                "conversation_id": conversation.id,
                "message_id": message.id,
                "user_from": UserFrom.ACCOUNT if isinstance(user, Account) else UserFrom.END_USER,
            },
        )
        worker_thread.start()
        response = self._handle_response(
            application_generate_entity=application_generate_entity,
            queue_manager=queue_manager,
            conversation=conversation,
            message=message,
            user=user,
            stream=streaming,
        )
        return AppGenerateResponseConverter.convert(response=response, invoke_from=invoke_from)

    def resume_after_form_submission(
        self,
        *,
        app_model: App,
        user: Account | EndUser,
        conversation_id: str,
        invoke_from: InvokeFrom,
        session: Session,
    ) -> None:
        raise NotImplementedError("the stand-in's agent asks nobody")

    def _generate_worker(
        self,
        *,
        flask_app: Flask,
        context: contextvars.Context,
        application_generate_entity: AgentAppGenerateEntity,
        queue_manager: AppQueueManager,
        conversation_id: str,
        message_id: str,
        user_from: UserFrom,
        is_resume: bool = False,
    ) -> None:
        entity = application_generate_entity
        with preserve_flask_contexts(flask_app, context_vars=context):
            try:
                model = SimpleNamespace(
                    plugin_id=entity.model_conf.provider.rpartition("/")[0],
                    model_provider=entity.model_conf.provider,
                    model=entity.model_conf.model,
                )
                client = Client(base_url=f"{dify_config.PLUGIN_DAEMON_URL}/agent-backend")
                AgentAppRunner(agent_backend_client=DifyAgentBackendRunClient(client)).run(
                    dify_context=DifyRunContext(
                        tenant_id=entity.app_config.tenant_id,
                        app_id=entity.app_config.app_id,
                        user_id=entity.user_id,
                        user_from=user_from,
                        invoke_from=entity.invoke_from,
                    ),
                    agent_id=entity.agent_id,
                    agent_config_snapshot_id=entity.agent_config_snapshot_id,
                    agent_soul=SimpleNamespace(model=model),
                    conversation_id=conversation_id,
                    query=entity.query,
                    message_id=message_id,
                    model_name=entity.model_conf.model,
                    queue_manager=queue_manager,
                )
            except GenerateTaskStoppedError:
                pass
            except Exception as exc:
                logger.exception("Unknown Error in Agent App generate worker")
                queue_manager.publish_error(exc, PublishFrom.APPLICATION_MANAGER)
            finally:
                db.session.close()
