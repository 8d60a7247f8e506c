"""Runs everything one generation tree can do, once; a patching test imports the tree, patches it, and calls this.

`python exercise.py a|b|c` runs it bare, in a process of its own: the trees have the same module names as each other and
as `tests/standin/dify`, so only one of them can be imported in a process.
"""

import importlib
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

HERE = Path(__file__).resolve().parent


def enter(generation: str) -> None:
    """Puts a tree first on the import path, as Dify's `/app/api` is when its processes start."""
    sys.path.insert(0, str(HERE / generation))


def drained(response: Any) -> list[dict[str, Any]]:
    """The events of a streamed response; a blocking one is its own only event."""
    if isinstance(response, dict):
        return [response]
    return [json.loads(line[5:]) for line in response if line.startswith("data:")]


class Tree:
    """The tree's own objects, and one method for each thing a client of Dify can do."""

    def __init__(self) -> None:
        self.factory = importlib.import_module("app_factory")
        self.app = self.factory.create_app()
        self.models = importlib.import_module("models.model")
        self.workflows = importlib.import_module("models.workflow")
        self.service = importlib.import_module("services.app_generate_service")
        self.entities = importlib.import_module("core.app.entities.app_invoke_entities")
        self.user = self.models.EndUser()

    def generate(self, mode: str, args: dict[str, Any], *, streaming: bool) -> list[dict[str, Any]]:
        app = self.models.App(mode=mode)
        return self.run(app, args, streaming=streaming)

    def workflow(self, groups: list[list[Any]], *, streaming: bool, mode: str = "workflow") -> list[dict[str, Any]]:
        app = self.models.App(mode=mode)
        self.service.PUBLISHED[app.id] = self.workflows.Workflow(app.id, {"groups": groups})
        return self.run(app, {"inputs": {"query": "hello"}, "query": "hello"}, streaming=streaming)

    def run(self, app: Any, args: dict[str, Any], *, streaming: bool) -> list[dict[str, Any]]:
        response = self.service.AppGenerateService.generate(
            app, self.user, args, self.entities.InvokeFrom.SERVICE_API, streaming
        )
        return drained(response)


def everything() -> dict[str, Any]:
    """What each part answered, by name. Errors which Dify hands to the client are answers; others are raised."""
    tree = Tree()
    args = {"query": "hello there", "inputs": {"name": "x"}}
    seen: dict[str, Any] = {}
    for streaming in (True, False):
        how = "stream" if streaming else "block"
        for mode in ("chat", "completion", "agent-chat"):
            seen[f"{mode}:{how}"] = tree.generate(mode, args, streaming=streaming)
        groups = [["start"], ["code"], ["llm", "tool", "knowledge-retrieval"], ["end"]]
        seen[f"workflow:{how}"] = tree.workflow(groups, streaming=streaming)
        seen[f"chatflow:{how}"] = tree.workflow(groups, streaming=streaming, mode="advanced-chat")
        failing = [["start"], [("llm", {"model": "fail-midway"})], ["end"]]
        seen[f"workflow-fail:{how}"] = tree.workflow(failing, streaming=streaming)
        for kind in ("iteration", "loop"):
            nested = [["start"], [(kind, {"child": "llm"})], ["end"]]
            seen[f"{kind}:{how}"] = tree.workflow(nested, streaming=streaming)
    seen["chat-fail:stream"] = tree.generate("chat", {**args, "model": "fail-model"}, streaming=True)
    try:
        tree.generate("chat", {**args, "model": "fail-model"}, streaming=False)
    except ValueError as error:
        seen["chat-fail:block"] = str(error)
    seen.update(_parts())
    return seen


def _parts() -> dict[str, Any]:
    """What no application reaches."""
    manager = importlib.import_module("core.model_manager")
    instance = manager.ModelInstance(manager.bundle(), "stub-chat")
    tools = importlib.import_module("core.tools.plugin_tool.tool")
    engine = importlib.import_module("core.tools.tool_engine").ToolEngine
    generator = importlib.import_module("core.llm_generator.llm_generator").LLMGenerator
    moderation = importlib.import_module("core.moderation.factory").ModerationFactory("keywords", "app", "tenant", {})
    retrieval = importlib.import_module("core.rag.retrieval.dataset_retrieval").DatasetRetrieval()
    message = SimpleNamespace(id="m1")
    seen = {
        "embeddings": instance.invoke_text_embedding(["a", "b"]).embeddings,
        "rerank": [doc.index for doc in instance.invoke_rerank("q", ["a", "b"], top_n=1).docs],
        "moderation": instance.invoke_moderation("forbidden"),
        "speech": instance.invoke_speech2text(io.BytesIO(b"12")),
        "tts": list(instance.invoke_tts("a b", "tenant", "voice")),
        "tool-fail": engine.agent_invoke(
            tools.plugin_tool("fail_tool"), {"city": "x"}, "user", "tenant", message, None, None
        )[0],
        "name": generator.generate_conversation_name("tenant-1", "hello"),
        "moderation-in": moderation.moderation_for_inputs({}, "forbidden").flagged,
        "moderation-out": moderation.moderation_for_outputs("fine").flagged,
    }
    config = SimpleNamespace(dataset_ids=["d1", "d2"])
    found = retrieval.retrieve("app", "user", "tenant", None, config, "hello", None, True, None, "m1")
    seen["retrieval"] = found[0] if isinstance(found, tuple) else found
    importlib.import_module("core.indexing_runner").IndexingRunner().run(["one", "two"])
    client = importlib.import_module("core.plugin.impl.base")
    client.BasePluginClient()._request("GET", "plugin/x", {"A": "b"})
    seen["daemon"] = list(client.BasePluginClient()._stream_request("POST", "plugin/y"))
    return seen


if __name__ == "__main__":
    enter(sys.argv[1])
    for name, answer in everything().items():
        print(f"{name:22} {str(answer)[:150]}")
