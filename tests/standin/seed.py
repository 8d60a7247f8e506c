"""Creates the stand-in's tables and its applications, in its own database; prints them as JSON.

Run with `dify/` as the working folder and the same environment as the API: `python ../seed.py --daemon http://…`.
Every run starts from nothing: the tables are dropped first.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "dify"), str(HERE), str(HERE / "services")]

import graphs
from app_factory import create_migrations_app
from core.db.session_factory import configure_session_factory, create_session
from extensions import ext_redis
from extensions.ext_database import db
from models.account import Account, Tenant
from models.base import Base
from models.dataset import Dataset, Document, DocumentSegment, Pipeline
from models.model import ApiToken, App, AppModelConfig, EndUser
from models.provider import Provider, ProviderCredential
from models.trigger import WorkflowPluginTrigger, WorkflowSchedulePlan
from models.workflow import Workflow
from plugin_daemon import embedding

TEXT = [
    "Cats sleep for most of the day and hunt small animals at night.",
    "Berlin is the capital of Germany and has about three and a half million people.",
    "OpenTelemetry collects traces, metrics and logs from running programs.",
    "A workflow in Dify is a graph of nodes; each node may call a model, a tool or a piece of code.",
    "Redis is used by Dify as a cache and as the broker of Celery.",
]
MODERATION = {
    "enabled": True,
    "type": "keywords",
    "config": {
        "keywords": "forbidden\nsecretword",
        "inputs_config": {"enabled": True, "preset_response": "I may not answer that."},
        "outputs_config": {"enabled": True, "preset_response": "The answer was withheld."},
    },
}


class Seed:
    """One tenant with its provider, knowledge and applications."""

    def __init__(self, session: Any, daemon: str) -> None:
        self.session = session
        self.daemon = daemon
        self.apps: dict[str, dict[str, str]] = {}
        self.tenant = self.add(Tenant(name="standin"))
        self.account = self.add(Account(name="admin", email="admin@example.com", tenant_id=self.tenant.id))
        self.add(Provider(tenant_id=self.tenant.id, provider_name=graphs.PROVIDER))
        self.add(
            ProviderCredential(
                tenant_id=self.tenant.id,
                provider_name=graphs.PROVIDER,
                encrypted_config={"api_key": "sk-standin-secret-of-the-provider"},
            )
        )

    def add(self, row: Any) -> Any:
        self.session.add(row)
        self.session.flush()
        return row

    def _published(self, app: App) -> None:
        token = f"app-{app.id.replace('-', '')}"
        self.add(ApiToken(app_id=app.id, tenant_id=app.tenant_id, token=token))
        self.apps[app.name] = {"id": app.id, "mode": app.mode, "key": token}

    def workflow(self, name: str, graph: graphs.Graph, mode: str = "workflow", features: Any = None) -> App:
        app = self.add(App(tenant_id=self.tenant.id, name=name, mode=mode))
        kind = "workflow" if mode == "workflow" else "chat"
        for version in ("draft", "2026-01-01 00:00:00.000000"):
            row = self.add(
                Workflow(
                    tenant_id=self.tenant.id,
                    app_id=app.id,
                    type=kind,
                    version=version,
                    graph=json.dumps(graph),
                    features=json.dumps(features or {}),
                    created_by=self.account.id,
                )
            )
        app.workflow_id = row.id
        self._published(app)
        return app

    def pipeline(self, name: str, graph: graphs.Graph, dataset: Dataset) -> Pipeline:
        row = self.add(Pipeline(tenant_id=self.tenant.id, name=name, dataset_id=dataset.id))
        workflow = self.add(
            Workflow(
                tenant_id=self.tenant.id,
                app_id=row.id,
                type="rag-pipeline",
                version="2026-01-01 00:00:00.000000",
                graph=json.dumps(graph),
                created_by=self.account.id,
            )
        )
        row.workflow_id = workflow.id
        return row

    def simple(self, name: str, mode: str, model: str = "stub-chat", **config: Any) -> App:
        app = self.add(App(tenant_id=self.tenant.id, name=name, mode=mode))
        row = self.add(
            AppModelConfig(
                app_id=app.id,
                model=json.dumps(
                    {
                        "provider": graphs.PROVIDER,
                        "name": model,
                        "mode": "chat",
                        "completion_params": {"temperature": 0.5, "max_tokens": 512},
                    }
                ),
                pre_prompt=config.pop("pre_prompt", "You are a helpful assistant."),
                **{key: json.dumps(value) for key, value in config.items()},
            )
        )
        app.app_model_config_id = row.id
        self._published(app)
        return app

    def dataset(self, name: str, **fields: Any) -> Dataset:
        return self.add(
            Dataset(
                tenant_id=self.tenant.id,
                name=name,
                embedding_model="stub-embed",
                embedding_model_provider=graphs.PROVIDER,
                **{
                    "retrieval_model": {
                        "search_method": "hybrid_search",
                        "reranking_enable": True,
                        "reranking_mode": "reranking_model",
                        "reranking_model": {
                            "reranking_provider_name": graphs.PROVIDER,
                            "reranking_model_name": "stub-rerank",
                        },
                        "top_k": 3,
                        "score_threshold_enabled": False,
                        "score_threshold": 0.0,
                    },
                    **fields,
                },
            )
        )

    def filled(self, dataset: Dataset) -> Dataset:
        document = self.add(
            Document(
                tenant_id=self.tenant.id,
                dataset_id=dataset.id,
                name=f"{dataset.name}.txt",
                content="\n\n".join(TEXT),
                indexing_status="completed",
            )
        )
        for position, text in enumerate(TEXT, start=1):
            self.add(
                DocumentSegment(
                    tenant_id=self.tenant.id,
                    dataset_id=dataset.id,
                    document_id=document.id,
                    position=position,
                    content=text,
                    word_count=len(text),
                    index_node_id=f"{dataset.id[:8]}-{position}",
                    index_node_hash=f"hash-{position}",
                    vector=embedding(text),
                )
            )
        return dataset


def seed(session: Any, daemon: str) -> dict[str, Any]:
    s = Seed(session, daemon)
    main = s.filled(s.dataset("knowledge"))
    second = s.filled(s.dataset("second"))
    external = s.dataset("external", provider="external", retrieval_model={"top_k": 2, "score_threshold": 0.1})
    unindexed = s.dataset("unindexed")
    waiting = s.add(
        Document(tenant_id=s.tenant.id, dataset_id=unindexed.id, name="waiting.txt", content="\n\n".join(TEXT))
    )
    rerank = {"reranking_provider_name": graphs.PROVIDER, "reranking_model_name": "stub-rerank"}

    s.workflow("wf-main", graphs.main_graph(main.id))
    s.workflow("travel-guide", graphs.demo_graph(main.id))
    s.workflow("wf-iter", graphs.iteration_graph(parallel=False))
    s.workflow("wf-iter-par", graphs.iteration_graph(parallel=True))
    s.workflow("wf-loop", graphs.loop_graph())
    s.workflow("wf-parallel", graphs.parallel_graph())
    s.workflow("wf-fail", graphs.model_graph("fail-model"))
    s.workflow("wf-fail-mid", graphs.model_graph("fail-midway"))
    s.workflow("wf-branch-fail", graphs.branch_fail_graph())
    s.workflow("wf-retry", graphs.retry_graph())
    s.workflow("wf-tool-fail", graphs.tool_graph("fail_tool"))
    s.workflow("wf-http", graphs.http_graph(f"{daemon}/echo/from-http-node?token=a-secret-in-the-query"))
    s.workflow("wf-classifier", graphs.classifier_graph())
    s.workflow("wf-human", graphs.human_graph())
    s.workflow("wf-slow", graphs.model_graph("slow"))
    nested = s.workflow("wf-nested-inner", graphs.model_graph("stub-chat"))
    s.workflow("wf-picture", graphs.tool_graph("picture"))
    s.workflow("wf-nested", graphs.workflow_tool_graph(nested.id))
    s.workflow("chatflow", graphs.chat_graph(), "advanced-chat")
    s.workflow("chatflow-fail", graphs.chat_fail_graph(), "advanced-chat")
    s.workflow("chatflow-agent", graphs.agent_graph(), "advanced-chat")
    s.workflow("chatflow-moderated", graphs.chat_graph(), "advanced-chat", {"sensitive_word_avoidance": MODERATION})

    weather = {"provider_type": "builtin", "provider_id": graphs.TOOL_PROVIDER, "tool_name": "weather"}
    failing = {**weather, "tool_name": "fail_tool"}
    source = {"enabled": True}
    datasets = {"retrieval_model": "multiple", "top_k": 3, "reranking_model": rerank}
    s.simple("chat", "chat")
    s.simple("chat-dataset", "chat", dataset_configs={**datasets, "dataset_ids": [main.id]}, retriever_resource=source)
    s.simple(
        "chat-datasets",
        "chat",
        dataset_configs={**datasets, "dataset_ids": [main.id, second.id, external.id]},
        retriever_resource=source,
    )
    s.simple(
        "chat-single",
        "chat",
        dataset_configs={**datasets, "retrieval_model": "single", "dataset_ids": [main.id]},
        retriever_resource=source,
    )
    s.simple("chat-fail", "chat", "fail-model")
    s.simple("chat-fail-mid", "chat", "fail-midway")
    s.simple("chat-slow", "chat", "slow")
    s.simple("chat-moderated", "chat", sensitive_word_avoidance=MODERATION)
    agent = {"enabled": True, "strategy": "function-calling", "max_iteration": 3, "tools": [weather]}
    s.simple("agent-chat", "agent-chat", agent_mode=agent)
    s.simple("agent-chat-fail", "agent-chat", agent_mode={**agent, "tools": [failing]})
    s.simple("agent-chat-cot", "agent-chat", agent_mode={**agent, "strategy": "chain-of-thought"})
    picture = {**weather, "tool_name": "picture"}
    s.simple("agent-picture", "agent-chat", agent_mode={**agent, "tools": [picture]})
    s.simple("agent-app", "agent")
    s.simple("completion", "completion", pre_prompt="Complete: {{query}}")

    pipeline = s.pipeline("pipeline", graphs.model_graph("stub-chat"), main)
    triggered = s.apps["wf-nested-inner"]["id"]
    schedule = s.add(
        WorkflowSchedulePlan(
            tenant_id=s.tenant.id, app_id=triggered, node_id="start", inputs={"query": "what is on today?"}
        )
    )
    for name in ("wf-nested-inner", "wf-picture"):
        s.add(
            WorkflowPluginTrigger(
                tenant_id=s.tenant.id,
                app_id=s.apps[name]["id"],
                node_id="start",
                provider_id="langgenius/stubtrigger/stubtrigger",
                subscription_id="subscription-1",
                endpoint_id="endpoint-1",
            )
        )
    end_user = s.add(EndUser(tenant_id=s.tenant.id, session_id="trigger-user"))
    return {
        "apps": s.apps,
        "tenant_id": s.tenant.id,
        "account_id": s.account.id,
        "trigger_user_id": end_user.id,
        "dataset_id": main.id,
        "pipeline_id": pipeline.id,
        "schedule_id": schedule.id,
        "endpoint_id": "endpoint-1",
        "unindexed_dataset_id": unindexed.id,
        "unindexed_document_id": waiting.id,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daemon", required=True, help="address of the stand-in plugin daemon")
    options = parser.parse_args()
    app = create_migrations_app()
    ext_redis.init_app(app)
    with app.app_context():
        configure_session_factory(db.engine)
        Base.metadata.drop_all(db.engine)
        Base.metadata.create_all(db.engine)
        with create_session() as session:
            result = seed(session, options.daemon)
            session.commit()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
