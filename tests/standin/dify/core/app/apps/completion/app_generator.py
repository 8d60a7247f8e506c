"""Completion application: one model completes, in a thread which carries the caller's contextvars."""

import contextvars
import logging
import threading
import uuid
from collections.abc import Generator, Mapping
from typing import Any

from flask import Flask, copy_current_request_context, current_app
from graphon.model_runtime.errors.invoke import InvokeAuthorizationError
from sqlalchemy.orm import Session

from core.app.app_config.easy_ui import ModelConfigConverter
from core.app.apps.base_app_queue_manager import AppQueueManager, PublishFrom
from core.app.apps.completion.app_config_manager import CompletionAppConfigManager
from core.app.apps.completion.app_runner import CompletionAppRunner
from core.app.apps.exc import GenerateTaskStoppedError
from core.app.apps.generate_response_converter import AppGenerateResponseConverter
from core.app.apps.message_based_app_generator import MessageBasedAppGenerator
from core.app.apps.message_based_app_queue_manager import MessageBasedAppQueueManager
from core.app.entities.app_invoke_entities import CompletionAppGenerateEntity, InvokeFrom
from core.db.session_factory import session_factory
from core.ops.ops_trace_manager import TraceQueueManager
from extensions.ext_database import db
from factories.file_factory import build_from_mappings
from models.account import Account
from models.model import App, EndUser, Message

logger = logging.getLogger(__name__)


class CompletionAppGenerator(MessageBasedAppGenerator):
    def generate(
        self,
        app_model: App,
        user: Account | EndUser,
        args: Mapping[str, Any],
        invoke_from: InvokeFrom,
        streaming: bool = True,
        *,
        session: Session,
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None]:
        query = str(args.get("query") or "").replace("\x00", "")
        app_model_config = self._get_app_model_config(app_model=app_model, session=session)
        app_config = CompletionAppConfigManager.get_app_config(app_model=app_model, app_model_config=app_model_config)
        trace_manager = TraceQueueManager(
            app_id=app_model.id, user_id=user.id if isinstance(user, Account) else user.session_id
        )
        application_generate_entity = CompletionAppGenerateEntity(
            task_id=str(uuid.uuid4()),
            app_config=app_config,
            model_conf=ModelConfigConverter.convert(app_config),
            inputs=self._prepare_user_inputs(user_inputs=args.get("inputs"), tenant_id=app_model.tenant_id),
            query=query,
            files=build_from_mappings(mappings=args.get("files") or [], tenant_id=app_model.tenant_id),
            user_id=user.id,
            stream=streaming,
            invoke_from=invoke_from,
            extras={"auto_generate_conversation_name": args.get("auto_generate_name", True)},
            trace_manager=trace_manager,
        )
        conversation, message = self._init_generate_records(application_generate_entity, session=session)
        queue_manager = MessageBasedAppQueueManager(
            task_id=application_generate_entity.task_id,
            user_id=application_generate_entity.user_id,
            invoke_from=application_generate_entity.invoke_from,
            conversation_id=conversation.id,
            app_mode=conversation.mode,
            message_id=message.id,
        )
        flask_app = current_app._get_current_object()  # type: ignore[attr-defined]
        context = contextvars.copy_context()

        @copy_current_request_context
        def worker_with_context() -> None:
            context.run(
                self._generate_worker,
                flask_app=flask_app,
                application_generate_entity=application_generate_entity,
                queue_manager=queue_manager,
                message_id=message.id,
            )

        worker_thread = threading.Thread(target=worker_with_context)
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

    def _generate_worker(
        self,
        flask_app: Flask,
        application_generate_entity: CompletionAppGenerateEntity,
        queue_manager: AppQueueManager,
        message_id: str,
    ) -> None:
        with flask_app.app_context():
            try:
                message = self._get_message(message_id)
                with session_factory.create_session() as session:
                    CompletionAppRunner().run(
                        application_generate_entity=application_generate_entity,
                        queue_manager=queue_manager,
                        message=message,
                        session=session,
                    )
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

    def generate_more_like_this(
        self,
        app_model: App,
        message_id: str,
        user: Account | EndUser,
        invoke_from: InvokeFrom,
        stream: bool = True,
        *,
        session: Session,
    ) -> Mapping[str, Any] | Generator[Mapping[str, Any] | str, None, None]:
        message = session.get(Message, message_id)
        if message is None:
            raise ValueError("Message not exists")
        args = {"inputs": message.inputs, "query": message.query}
        return self.generate(app_model, user, args, invoke_from, stream, session=session)
