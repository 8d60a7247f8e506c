from core.app.entities.queue_entities import QueueLLMChunkEvent, QueueMessageEndEvent
from core.model_manager import ModelInstance, bundle
from core.model_runtime.entities.llm_entities import AssistantPromptMessage, LLMResult, LLMUsage, PromptMessage


class CompletionAppRunner:
    def run(self, application_generate_entity, queue_manager, message):
        entity = application_generate_entity
        instance = ModelInstance(bundle(), entity.model_conf.model)
        prompt = [PromptMessage("user", entity.query)]
        result = instance.invoke_llm(
            prompt_messages=prompt,
            model_parameters=entity.model_conf.parameters,
            stop=[],
            stream=entity.stream,
            user=entity.user_id,
        )
        if not isinstance(result, LLMResult):
            text, usage = "", LLMUsage()
            for chunk in result:
                text += chunk.delta.message.content
                usage = chunk.delta.usage or usage
                queue_manager.publish(QueueLLMChunkEvent(chunk))
            message_text = AssistantPromptMessage(content=text)
            result = LLMResult(entity.model_conf.model, prompt, message_text, usage)
        queue_manager.publish(QueueMessageEndEvent(result))
