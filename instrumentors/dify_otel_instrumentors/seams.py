"""THE table: every place in Dify that is instrumented, in every release.

A seam is a place where one unit of work begins and ends; its targets are the names that place has had, oldest first.
Names move only between the engine's packages (`core.workflow` to 1.13.0, `dify_graph` to 1.13.3, PyPI's `graphon` from
1.14.0); everywhere else signatures drift, which reading arguments by name absorbs. Read by the patcher, the doctor, the
release tests and the README.
"""

from __future__ import annotations

from . import (
    agent,
    app,
    engine,
    feedback,
    generation,
    indexing,
    mcp,
    message,
    model,
    moderation,
    node,
    plugin,
    retrieval,
    sandbox,
    tool,
    trigger,
    workflow,
)
from .core.operation import Seam

_APPS = "core.app.apps"
_RAG = "core.rag"

READY = "app_factory:initialize_extensions"
"""When this has returned, Dify's own telemetry has been decided and the SDK may start."""

SEAMS: tuple[Seam, ...] = (
    # --- request and app
    Seam(
        "app.request",
        app.REQUEST,
        (
            "services.app_generate_service:AppGenerateService.generate",
            "services.app_generate_service:AppGenerateService.generate_single_iteration",
            "services.app_generate_service:AppGenerateService.generate_single_loop",
            "services.app_generate_service:AppGenerateService.generate_more_like_this",
        ),
        lost="the span of a request to an app, and the trace of everything below it",
        reads=("app_model", "user"),
    ),
    Seam(
        "app.run",
        app.RUN,
        (
            f"{_APPS}.completion.app_generator:CompletionAppGenerator.generate",
            f"{_APPS}.chat.app_generator:ChatAppGenerator.generate",
            f"{_APPS}.agent_chat.app_generator:AgentChatAppGenerator.generate",
            f"{_APPS}.advanced_chat.app_generator:AdvancedChatAppGenerator.generate",
            f"{_APPS}.workflow.app_generator:WorkflowAppGenerator.generate",
        ),
        lost="the app's span in the Celery worker, in triggered runs and in workflows used as tools",
        reads=("app_model", "user", "args", "invoke_from", "streaming"),
    ),
    Seam(
        "app.resume",
        app.RUN,
        (
            f"{_APPS}.advanced_chat.app_generator:AdvancedChatAppGenerator.resume",
            f"{_APPS}.workflow.app_generator:WorkflowAppGenerator.resume",
        ),
        releases=("1.10.0-",),
        lost="the app's span of a resumed run",
    ),
    Seam(
        "app.pipeline",
        app.PIPELINE_RUN,
        (f"{_APPS}.pipeline.pipeline_generator:PipelineGenerator._generate",),
        releases=("1.9.0-",),
        lost="the app's span of a knowledge pipeline run",
        reads=("pipeline", "user", "application_generate_entity", "invoke_from", "streaming"),
    ),
    Seam(
        "app.pipeline_request",
        app.PIPELINE_REQUEST,
        ("services.rag_pipeline.pipeline_generate_service:PipelineGenerateService.generate",),
        releases=("1.9.0-",),
        lost="the span of a request to run a knowledge pipeline",
        reads=("pipeline", "user", "args", "invoke_from"),
    ),
    Seam(
        "workflow.queued",
        workflow.QUEUED,
        ("services.rag_pipeline.rag_pipeline_task_proxy:RagPipelineTaskProxy.delay",),
        releases=("1.10.0-",),
        lost="the link from a published pipeline's run to the request that asked for it",
    ),
    Seam(
        "app.agent",
        app.RUN,
        (
            f"{_APPS}.agent_app.app_generator:AgentAppGenerator.generate",
            f"{_APPS}.agent_app.app_generator:AgentAppGenerator.resume_after_form_submission",
        ),
        releases=("1.15.0-",),
        lost="the app's span of an agent app outside a request",
        reads=("app_model", "user", "invoke_from"),
    ),
    Seam(
        "app.records",
        app.RECORDS,
        (f"{_APPS}.message_based_app_generator:MessageBasedAppGenerator._init_generate_records",),
        lost="conversation and message ids from the start of a turn",
        reads=("application_generate_entity",),
    ),
    Seam(
        "message.saved",
        message.SAVED,
        (
            "core.app.task_pipeline.easy_ui_based_generate_task_pipeline:EasyUIBasedGenerateTaskPipeline._save_message",
            f"{_APPS}.advanced_chat.generate_task_pipeline:AdvancedChatAppGenerateTaskPipeline._save_message",
        ),
        lost="tokens, price and status of a message on the app's span",
        reads=("session",),
    ),
    Seam(
        "message.failed",
        message.FAILED,
        (
            "core.app.task_pipeline.based_generate_task_pipeline:BasedGenerateTaskPipeline._handle_error",
            "core.app.task_pipeline.based_generate_task_pipeline:BasedGenerateTaskPipeline.handle_error",
        ),
        lost="the error class of a failed chat or completion on the app's span",
        reads=("event",),
    ),
    Seam(
        "workflow.log",
        workflow.LOGGED,
        ("core.app.apps.workflow.generate_task_pipeline:WorkflowAppGenerateTaskPipeline._save_workflow_app_log",),
        lost="the id of a workflow run's app log",
        reads=("session",),
    ),
    # --- workflow and nodes
    Seam(
        "workflow.run",
        workflow.RUN,
        (
            f"{_APPS}.workflow.app_runner:WorkflowAppRunner.run",
            f"{_APPS}.advanced_chat.app_runner:AdvancedChatAppRunner.run",
        ),
        lost="the span of a workflow run",
    ),
    Seam(
        "workflow.pipeline",
        workflow.RUN,
        (f"{_APPS}.pipeline.pipeline_runner:PipelineRunner.run",),
        releases=("1.9.0-",),
        lost="the span of a knowledge pipeline run",
    ),
    Seam(
        "workflow.events",
        workflow.EVENTS,
        ("core.app.apps.workflow_app_runner:WorkflowBasedAppRunner._handle_event",),
        lost="status, outputs and tokens of a workflow run",
        reads=("workflow_entry", "event"),
    ),
    Seam(
        "node.run",
        node.RUN,
        (
            "core.workflow.nodes.base.node:BaseNode.run",
            "core.workflow.nodes.base.node:Node.run",
            "dify_graph.nodes.base.node:Node.run",
            "graphon.nodes.base.node:Node.run",
        ),
        lost="every node's span",
    ),
    Seam(
        "node.children",
        node.CHILD_ENGINE,
        (
            "core.workflow.nodes.iteration.iteration_node:IterationNode._create_graph_engine",
            "core.workflow.nodes.loop.loop_node:LoopNode._create_graph_engine",
            "dify_graph.nodes.iteration.iteration_node:IterationNode._create_graph_engine",
            "dify_graph.nodes.loop.loop_node:LoopNode._create_graph_engine",
            "graphon.nodes.iteration.iteration_node:IterationNode._create_graph_engine",
            "graphon.nodes.loop.loop_node:LoopNode._create_graph_engine",
        ),
        releases=("1.9.0-1.16.1",),
        lost="the place of an iteration's or loop's children under their container and item",
    ),
    Seam(
        "node.resume",
        node.RESUMED,
        ("graphon.nodes.base.node:Node.resume_container",),
        releases=("1.17.0-",),
        lost="the end of an iteration or loop: its span ends where its children begin",
    ),
    Seam(
        "node.frame",
        node.FRAME_NODE,
        (
            "graphon.graph_engine.worker:Worker._bind_execution_id",
            "graphon.engine.worker.worker:Worker._bind_execution_id",
        ),
        releases=("1.17.0-",),
        lost="the place of an iteration's or loop's children under their container and item",
        reads=("frame_id",),
    ),
    Seam(
        "node.frame_done",
        node.FRAME_DONE,
        (
            "graphon.graph_engine.frames:FrameRegistry.remove",
            "graphon.engine.frame:FrameRegistry.remove",
        ),
        releases=("1.17.0-",),
        lost="the duration of an iteration's items and a loop's rounds",
        reads=("frame_id",),
    ),
    Seam(
        "node.frame_failed",
        node.FRAME_FAILED,
        (
            "graphon.graph_engine.iteration_container_handler:IterationContainerHandler.record_frame_failure",
            "graphon.graph_engine.loop_container_handler:LoopContainerHandler.record_frame_failure",
            "graphon.engine.container_handler.builtin.iteration:IterationContainerHandler.record_frame_failure",
            "graphon.engine.container_handler.builtin.loop:LoopContainerHandler.record_frame_failure",
        ),
        releases=("1.17.0-",),
        lost="which items of an iteration or rounds of a loop failed",
        reads=("frame", "event"),
    ),
    # --- the engine: its queue and workers
    Seam(
        "node.ready",
        engine.READY,
        (
            "core.workflow.graph_engine.ready_queue.in_memory:InMemoryReadyQueue.put",
            "dify_graph.graph_engine.ready_queue.in_memory:InMemoryReadyQueue.put",
            "graphon.graph_engine.ready_queue.in_memory:InMemoryReadyQueue.put",
        ),
        releases=("1.9.0-",),
        lost="how long nodes wait for a worker",
        reads=("item",),
    ),
    Seam(
        "node.started",
        engine.STARTED,
        (
            "core.workflow.graph_engine.worker:Worker._execute_node",
            "dify_graph.graph_engine.worker:Worker._execute_node",
            "graphon.graph_engine.worker:Worker._execute_node",
        ),
        releases=("1.9.0-",),
        lost="how long nodes wait for a worker",
        reads=("node",),
    ),
    Seam(
        "node.workers",
        engine.watched,
        (
            "core.workflow.graph_engine.worker_management.worker_pool:WorkerPool.start",
            "dify_graph.graph_engine.worker_management.worker_pool:WorkerPool.start",
            "graphon.graph_engine.worker_management.worker_pool:WorkerPool.start",
        ),
        releases=("1.9.0-",),
        lost="the number of workers and of nodes that wait for one",
    ),
    # Names of graphon 0.8, which no release has yet: claimed by none.
    *(
        Seam(f"node.{name}_renamed", does, (target,), releases=(), lost="nothing that a release has")
        for name, does, target in (
            ("ready", engine.READY, "graphon.runtime.ready_queue.in_memory:InMemoryReadyQueue.put"),
            ("started", engine.STARTED, "graphon.engine.worker.worker:Worker._execute_node"),
            ("workers", engine.watched, "graphon.engine.worker.worker_pool:WorkerPool.start"),
        )
    ),
    # --- models
    Seam(
        "model.chat",
        model.CHAT,
        ("core.model_manager:ModelInstance.invoke_llm",),
        lost="model calls: tokens, price, time to first chunk",
        reads=("prompt_messages", "model_parameters", "tools", "stop", "stream"),
    ),
    Seam(
        "model.embeddings",
        model.EMBED,
        ("core.model_manager:ModelInstance.invoke_text_embedding",),
        lost="embedding calls",
        reads=("texts",),
    ),
    Seam(
        "model.multimodal_embeddings",
        model.EMBED,
        ("core.model_manager:ModelInstance.invoke_multimodal_embedding",),
        releases=("1.11.0-",),
        lost="multimodal embedding calls",
    ),
    Seam(
        "model.cached_embeddings",
        model.CACHED_EMBED,
        (
            f"{_RAG}.embedding.cached_embedding:CacheEmbedding.embed_documents",
            f"{_RAG}.embedding.cached_embedding:CacheEmbedding.embed_query",
        ),
        lost="embeddings answered from the cache",
    ),
    Seam(
        "model.rerank",
        model.RERANK,
        ("core.model_manager:ModelInstance.invoke_rerank",),
        lost="rerank calls",
        reads=("query", "docs", "score_threshold", "top_n"),
    ),
    Seam(
        "model.multimodal_rerank",
        model.RERANK,
        ("core.model_manager:ModelInstance.invoke_multimodal_rerank",),
        releases=("1.11.0-",),
        lost="multimodal rerank calls",
    ),
    Seam(
        "model.moderation",
        model.MODERATION,
        ("core.model_manager:ModelInstance.invoke_moderation",),
        lost="calls of moderation models",
        reads=("text",),
    ),
    Seam(
        "model.speech_to_text",
        model.SPEECH_TO_TEXT,
        ("core.model_manager:ModelInstance.invoke_speech2text",),
        lost="speech recognition calls",
        reads=("file",),
    ),
    Seam(
        "model.text_to_speech",
        model.TEXT_TO_SPEECH,
        ("core.model_manager:ModelInstance.invoke_tts",),
        lost="speech synthesis calls",
        reads=("content_text", "voice"),
    ),
    Seam(
        "model.put_aside",
        model.PUT_ASIDE,
        ("core.model_manager:LBModelManager.cooldown",),
        lost="how often load balancing goes on to another credential",
    ),
    # --- tools and agents
    Seam(
        "tool.invoke",
        tool.EXECUTE,
        ("core.tools.__base.tool:Tool.invoke",),
        lost="tool executions",
        reads=("user_id", "tool_parameters", "conversation_id", "app_id", "message_id"),
    ),
    Seam(
        "tool.agent_invoke",
        tool.EXECUTE,
        ("core.tools.tool_engine:ToolEngine.agent_invoke",),
        lost="errors of an agent's tools, which the engine turns into text",
        reads=("tool", "tool_parameters"),
    ),
    Seam(
        "agent.run",
        agent.RUN,
        (
            "core.agent.fc_agent_runner:FunctionCallAgentRunner.run",
            "core.agent.cot_agent_runner:CotAgentRunner.run",
        ),
        lost="the span of an agent run",
        reads=("message", "query"),
    ),
    Seam(
        "agent.round",
        agent.THOUGHT_CREATED,
        ("core.agent.base_agent_runner:BaseAgentRunner.create_agent_thought",),
        lost="the spans of an agent's iterations",
    ),
    Seam(
        "agent.thought",
        agent.THOUGHT_SAVED,
        ("core.agent.base_agent_runner:BaseAgentRunner.save_agent_thought",),
        lost="thought and observation of an agent's iterations",
        reads=("tool_name", "thought", "observation"),
    ),
    Seam(
        "agent.strategy",
        agent.STRATEGY,
        ("core.agent.strategy.base:BaseAgentStrategy.invoke",),
        lost="the span of a plugin's agent strategy",
        reads=("params",),
    ),
    Seam(
        "agent.backend",
        agent.BACKEND,
        (f"{_APPS}.agent_app.app_runner:AgentAppRunner.run",),
        releases=("1.15.0-",),
        lost="the span of an agent app's turn",
        reads=("agent_id", "conversation_id", "query", "message_id", "model_name"),
    ),
    Seam(
        "agent.backend_events",
        agent.EVENTS,
        ("clients.agent_backend.client:DifyAgentBackendRunClient.stream_events",),
        releases=("1.15.0-",),
        lost="outcome and usage of an agent backend run",
        reads=("run_id",),
    ),
    # --- retrieval
    Seam(
        "retrieval",
        retrieval.RETRIEVE,
        (
            f"{_RAG}.retrieval.dataset_retrieval:DatasetRetrieval.retrieve",
            f"{_RAG}.retrieval.dataset_retrieval:DatasetRetrieval.single_retrieve",
            f"{_RAG}.retrieval.dataset_retrieval:DatasetRetrieval.multiple_retrieve",
            f"{_RAG}.datasource.retrieval_service:RetrievalService.retrieve",
        ),
        lost="the span of a knowledge retrieval",
        reads=("query",),
    ),
    Seam(
        "retrieval.node",
        retrieval.RETRIEVE,
        (f"{_RAG}.retrieval.dataset_retrieval:DatasetRetrieval.knowledge_retrieval",),
        releases=("1.13.0-",),
        lost="the settings of a knowledge node's retrieval",
        reads=("request",),
    ),
    Seam(
        "retrieval.vector",
        retrieval.VECTOR_SEARCH,
        (f"{_RAG}.datasource.vdb.vector_factory:Vector.search_by_vector",),
        lost="vector searches",
        reads=("query",),
    ),
    Seam(
        "retrieval.full_text",
        retrieval.FULL_TEXT_SEARCH,
        (f"{_RAG}.datasource.vdb.vector_factory:Vector.search_by_full_text",),
        lost="full-text searches",
        reads=("query",),
    ),
    Seam(
        "retrieval.file",
        retrieval.FILE_SEARCH,
        (f"{_RAG}.datasource.vdb.vector_factory:Vector.search_by_file",),
        releases=("1.11.0-",),
        lost="searches by file",
    ),
    Seam(
        "retrieval.keyword",
        retrieval.KEYWORD_SEARCH,
        (f"{_RAG}.datasource.keyword.keyword_factory:Keyword.search",),
        lost="keyword searches",
        reads=("query",),
    ),
    Seam(
        "retrieval.external",
        retrieval.EXTERNAL_SEARCH,
        ("services.external_knowledge_service:ExternalDatasetService.fetch_external_knowledge_retrieval",),
        lost="searches of external knowledge bases",
        reads=("dataset_id", "query"),
    ),
    Seam(
        "retrieval.weights",
        retrieval.WEIGHTED_RERANK,
        (f"{_RAG}.rerank.weight_rerank:WeightRerankRunner.run",),
        lost="reranking by weights",
        reads=("query", "documents"),
    ),
    # --- the rest
    Seam(
        "moderation.inputs",
        moderation.INPUTS,
        ("core.moderation.factory:ModerationFactory.moderation_for_inputs",),
        lost="moderation of inputs",
        reads=("inputs", "query"),
    ),
    Seam(
        "moderation.outputs",
        moderation.OUTPUTS,
        ("core.moderation.factory:ModerationFactory.moderation_for_outputs",),
        lost="moderation of outputs",
        reads=("text",),
    ),
    Seam(
        "moderation.hosted",
        moderation.HOSTED,
        ("core.helper.moderation:check_moderation",),
        lost="moderation by the hosted provider",
        reads=("text",),
    ),
    Seam(
        "generation.name",
        generation.CONVERSATION_NAME,
        ("core.llm_generator.llm_generator:LLMGenerator.generate_conversation_name",),
        lost="the span around naming a conversation",
        reads=("tenant_id", "query", "conversation_id", "app_id"),
    ),
    Seam(
        "generation.questions",
        generation.SUGGESTED_QUESTIONS,
        (
            "services.message_service:MessageService.get_suggested_questions_after_answer",
            "core.llm_generator.llm_generator:LLMGenerator.generate_suggested_questions_after_answer",
        ),
        lost="the span around suggested questions",
    ),
    *(
        Seam(
            f"generation.{name}",
            generation.prompt_generation(name),
            (f"core.llm_generator.llm_generator:LLMGenerator.{name}",),
            releases=releases,
            lost="the span around a generated prompt, code or schema",
        )
        for name, releases in (
            ("generate_rule_config", ("1.6.0-",)),
            ("generate_code", ("1.6.0-",)),
            ("generate_structured_output", ("1.6.0-",)),
            ("generate_qa_document", ("1.6.0-",)),
            ("instruction_modify_legacy", ("1.8.0-",)),
            ("instruction_modify_workflow", ("1.8.0-",)),
            ("generate_workflow_instruction_suggestions", ("1.16.0-",)),
        )
    ),
    *(
        Seam(
            f"generation.{name}",
            generation.prompt_generation(name),
            (f"services.workflow_generator_service:WorkflowGeneratorService.{name}",),
            releases=releases,
            lost="the span around a generated workflow",
            reads=("tenant_id", "instruction"),
        )
        for name, releases in (
            ("generate_workflow_graph", ("1.15.0-",)),
            ("generate_workflow_graph_stream", ("1.16.0-",)),
        )
    ),
    Seam(
        "sandbox",
        sandbox.EXECUTE,
        ("core.helper.code_executor.code_executor:CodeExecutor.execute_code",),
        lost="code executions in the sandbox",
        reads=("language", "preload", "code"),
    ),
    Seam(
        "plugin.call",
        plugin.timed,
        (
            "core.plugin.impl.base:BasePluginClient._request_with_plugin_daemon_response",
            "core.plugin.impl.base:BasePluginClient._request_with_plugin_daemon_response_stream",
        ),
        lost="how long the plugin daemon took for a call",
        reads=("path", "headers"),
    ),
    Seam("indexing.run", indexing.RUN, ("core.indexing_runner:IndexingRunner.run",), lost="dataset indexing"),
    Seam(
        "indexing.split",
        indexing.FROM_SPLITTING,
        ("core.indexing_runner:IndexingRunner.run_in_splitting_status",),
        lost="dataset indexing resumed at splitting",
    ),
    Seam(
        "indexing.load",
        indexing.FROM_INDEXING,
        ("core.indexing_runner:IndexingRunner.run_in_indexing_status",),
        lost="dataset indexing resumed at loading",
    ),
    Seam(
        "indexing.segments",
        indexing.LOAD,
        ("core.indexing_runner:IndexingRunner._load",),
        lost="the number of segments that indexing made",
        reads=("documents", "dataset"),
    ),
    Seam(
        "indexing.failed",
        indexing.FAILED,
        ("core.indexing_runner:IndexingRunner._handle_indexing_error",),
        releases=("1.9.2-",),
        lost="why a document could not be indexed",
        reads=("error",),
    ),
    Seam(
        "indexing.pipeline",
        indexing.PIPELINE,
        (
            f"{_RAG}.index_processor.processor.paragraph_index_processor:ParagraphIndexProcessor.index",
            f"{_RAG}.index_processor.processor.parent_child_index_processor:ParentChildIndexProcessor.index",
            f"{_RAG}.index_processor.processor.qa_index_processor:QAIndexProcessor.index",
        ),
        releases=("1.9.0-",),
        lost="the span of a document's indexing in a knowledge pipeline",
        reads=("dataset", "document", "chunks"),
    ),
    Seam(
        "mcp.request",
        mcp.REQUEST,
        ("core.mcp.session.base_session:BaseSession.send_request",),
        lost="requests to MCP servers",
        reads=("request",),
    ),
    Seam(
        "mcp.opened",
        mcp.OPENED,
        ("core.mcp.mcp_client:MCPClient._initialize",),
        lost="the duration of MCP sessions",
    ),
    Seam(
        "mcp.closed",
        mcp.CLOSED,
        ("core.mcp.mcp_client:MCPClient.__exit__",),
        lost="the duration of MCP sessions",
        reads=("exc_type",),
    ),
    Seam(
        "feedback",
        feedback.GIVEN,
        ("services.message_service:MessageService.create_feedback",),
        lost="the count of ratings",
        reads=("app_model", "rating"),
    ),
    Seam(
        "trigger.webhook",
        trigger.WEBHOOK,
        ("services.trigger.webhook_service:WebhookService.trigger_workflow_execution",),
        releases=("1.10.0-",),
        lost="webhook triggers",
    ),
    Seam(
        "trigger.plugin",
        trigger.PLUGIN,
        ("services.trigger.trigger_service:TriggerService.process_endpoint",),
        releases=("1.10.0-",),
        lost="plugin triggers",
    ),
    Seam(
        "trigger.started",
        trigger.STARTED,
        ("services.async_workflow_service:AsyncWorkflowService.trigger_workflow_async",),
        releases=("1.10.0-",),
        lost="scheduled triggers, and which runs a trigger started",
        reads=("trigger_data",),
    ),
)
