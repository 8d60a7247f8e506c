from core.app.apps.advanced_chat.app_generator import AdvancedChatAppGenerator
from core.app.apps.agent_chat.app_generator import AgentChatAppGenerator
from core.app.apps.base_app_generator import BaseAppGenerator
from core.app.apps.chat.app_generator import ChatAppGenerator
from core.app.apps.completion.app_generator import CompletionAppGenerator
from core.app.apps.workflow.app_generator import WorkflowAppGenerator
from core.app.features.rate_limiting.rate_limit import RateLimit

SIMPLE = {
    "chat": ChatAppGenerator,
    "completion": CompletionAppGenerator,
    "agent-chat": AgentChatAppGenerator,
}
PUBLISHED: dict = {}
"""Workflow of each application id."""


class AppGenerateService:
    @classmethod
    def generate(cls, app_model, user, args, invoke_from, streaming=True):
        rate_limit, request_id = RateLimit(app_model.id, 0), "request-1"
        common = {"app_model": app_model, "user": user, "args": args, "invoke_from": invoke_from}
        simple = SIMPLE.get(app_model.mode)
        if simple is not None:
            return rate_limit.generate(
                BaseAppGenerator.convert_to_event_stream(simple().generate(**common, streaming=streaming)),
                request_id,
            )
        workflow = PUBLISHED[app_model.id]
        extra: dict = {}
        kind = AdvancedChatAppGenerator if app_model.mode == "advanced-chat" else WorkflowAppGenerator
        return rate_limit.generate(
            BaseAppGenerator.convert_to_event_stream(
                kind().generate(**common, workflow=workflow, streaming=streaming, **extra)
            ),
            request_id,
        )

    @classmethod
    def generate_single_iteration(cls, app_model, user, node_id, args, streaming=True):
        raise NotImplementedError

    @classmethod
    def generate_single_loop(cls, app_model, user, node_id, args, streaming=True):
        raise NotImplementedError

    @classmethod
    def generate_more_like_this(cls, app_model, user, message_id, invoke_from, streaming=True):
        return CompletionAppGenerator().generate_more_like_this(
            app_model=app_model, message_id=message_id, user=user, invoke_from=invoke_from, stream=streaming
        )
