"""Sets a fresh Dify up the way its first user does: through the console's API.

Account, login, model provider, default models, a dataset with one document, applications of every kind, their keys.
Releases differ in how a password is sent, where the token comes back and what credentials are posted to; each place
tries what the release may want, newest first, and no release is asked for its number.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from itertools import pairwise
from typing import Any

from tests.standin import graphs

EMAIL, PASSWORD = "first@example.com", "Passw0rd-first"
PROVIDER, TOOL = graphs.PROVIDER, graphs.TOOL_PROVIDER
DOCUMENT = (
    "Cats sleep for most of the day and hunt at night.",
    "Berlin is the capital of Germany and lies on the Spree.",
    "A workflow is a graph of nodes; a node may call a model, a tool or a piece of code.",
)
INDEXING_SECONDS = 120.0


class Refused(RuntimeError):
    """The console answered with an error; the message holds status and body."""

    def __init__(self, method: str, path: str, status: int, body: str) -> None:
        super().__init__(f"{method} {path}: {status} {body[:1500]}")
        self.status = status


@dataclass(frozen=True)
class Application:
    """What a caller of the service API needs."""

    id: str
    mode: str
    key: str


@dataclass
class Console:
    """The console's API with the cookies and tokens of whoever is logged in."""

    base: str
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """The answer as JSON, None when it has none. Raises `Refused`."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with self.open(method, path, data, {"Content-Type": content_type}) as response:
            text = response.read()
        try:
            return json.loads(text)
        except ValueError:
            return None

    def open(self, method: str, path: str, data: bytes | None, headers: Mapping[str, str]) -> Any:
        """The answer as it comes, to be closed. Raises `Refused`."""
        url = f"{self.base}/console/api{path}"
        asked = urllib.request.Request(url, data, {**self.headers, **headers}, method=method)
        try:
            return self._opener.open(asked, timeout=120)
        except urllib.error.HTTPError as error:
            raise Refused(method, path, error.code, error.read().decode(errors="replace")) from None

    def cookie(self, ending: str) -> str | None:
        return next((c.value for c in self._cookies if c.name.endswith(ending)), None)

    def log_in(self) -> None:
        """Sets the first account up if need be, and logs in."""
        if self.request("GET", "/setup").get("step") != "finished":
            account = {"email": EMAIL, "name": "first", "password": PASSWORD, "language": "en-US"}
            self.request("POST", "/setup", account)
        coded = base64.b64encode(PASSWORD.encode()).decode()
        try:
            answer = self.request("POST", "/login", {"email": EMAIL, "password": coded, "remember_me": True})
        except Refused:
            answer = self.request("POST", "/login", {"email": EMAIL, "password": PASSWORD, "remember_me": True})
        token = self.cookie("access_token") or answer["data"]["access_token"]
        self.headers["Authorization"] = f"Bearer {token}"
        csrf = self.cookie("csrf_token")
        if csrf:
            self.headers["X-CSRF-Token"] = csrf

    def give_key(self, provider: str = PROVIDER) -> None:
        """A key for the provider of models."""
        path = f"/workspaces/current/model-providers/{provider}"
        credentials = {"credentials": {"api_key": "a-key"}}
        try:
            self.request("POST", f"{path}/credentials", {**credentials, "name": f"key {secrets.token_hex(4)}"})
        except Refused:
            self.request("POST", path, credentials)

    def set_models_up(self) -> None:
        """A key for the provider, and which model is meant when nobody says."""
        self.give_key()
        models = {"llm": "stub-chat", "text-embedding": "stub-embed", "rerank": "stub-rerank"}
        settings = [{"model_type": kind, "provider": PROVIDER, "model": model} for kind, model in models.items()]
        self.request("POST", "/workspaces/current/default-model", {"model_settings": settings})

    def upload(self, name: str, text: str) -> str:
        """A file for a dataset; gives its id."""
        body, content_type = form(name, text, source="datasets")
        return str(self.request("POST", "/files/upload?source=datasets", body, content_type)["id"])

    def dataset(self, document: Sequence[str] = DOCUMENT) -> str:
        """A dataset with one document, indexed by the worker. Raises TimeoutError or RuntimeError (Dify's error)."""
        file_id = self.upload("facts.txt", "\n\n".join(document))
        rules = {
            "pre_processing_rules": [],
            "segmentation": {"separator": "\n\n", "max_tokens": 200, "chunk_overlap": 0},
        }
        source = {"data_source_type": "upload_file", "file_info_list": {"file_ids": [file_id]}}
        made = self.request(
            "POST",
            "/datasets/init",
            {
                "indexing_technique": "high_quality",
                "embedding_model": "stub-embed",
                "embedding_model_provider": PROVIDER,
                "data_source": {"info_list": source},
                "process_rule": {"mode": "custom", "rules": rules},
                "doc_form": "text_model",
                "doc_language": "English",
                "retrieval_model": {"search_method": "semantic_search", "score_threshold_enabled": False}
                | _reranking(),
            },
        )
        identifier = str(made["dataset"]["id"])
        deadline = time.monotonic() + INDEXING_SECONDS
        while True:
            [state] = self.request("GET", f"/datasets/{identifier}/batch/{made['batch']}/indexing-status")["data"]
            if state["indexing_status"] == "completed":
                return identifier
            if state["indexing_status"] == "error":
                raise RuntimeError(f"indexing failed: {state.get('error')}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"indexing is still {state['indexing_status']}")
            time.sleep(0.5)

    def _application(self, name: str, mode: str) -> str:
        look = {"icon_type": "emoji", "icon": "A", "icon_background": "#FFEAD5"}
        return str(self.request("POST", "/apps", {"name": name, "mode": mode, "description": name, **look})["id"])

    def _key(self, identifier: str) -> str:
        return str(self.request("POST", f"/apps/{identifier}/api-keys")["token"])

    def workflow(self, name: str, mode: str, graph: Mapping[str, Any], **features: Any) -> Application:
        """A workflow or chatflow: drawn, then published."""
        identifier = self._application(name, mode)
        draft: dict[str, Any] = {
            "graph": {**as_drawn(graph), "viewport": {"x": 0, "y": 0, "zoom": 1}},
            "features": {**FEATURES, **features},
            "environment_variables": [],
            "conversation_variables": [],
        }
        with suppress(Refused):  # a chatflow begins with a draft of Dify's; where there is none, releases refuse
            draft["hash"] = self.request("GET", f"/apps/{identifier}/workflows/draft")["hash"]
        self.request("POST", f"/apps/{identifier}/workflows/draft", draft)
        self.request("POST", f"/apps/{identifier}/workflows/publish", {"marked_name": "", "marked_comment": ""})
        return Application(identifier, mode, self._key(identifier))

    def basic(self, name: str, mode: str, model: str = "stub-chat", **settings: Any) -> Application:
        """A chat, agent or completion application."""
        identifier = self._application(name, mode)
        self.request("POST", f"/apps/{identifier}/model-config", {**configuration(model), **settings})
        return Application(identifier, mode, self._key(identifier))


def form(filename: str, text: str, *, of: str = "text/plain", **fields: str) -> tuple[bytes, str]:
    """A form with a file `of` that type in it, and its content type."""
    border = secrets.token_hex(12)
    parts = [f'name="{name}"\r\n\r\n{value}' for name, value in fields.items()]
    parts.append(f'name="file"; filename="{filename}"\r\nContent-Type: {of}\r\n\r\n{text}')
    body = "".join(f"--{border}\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    return f"{body}--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"


def configuration(model: str = "stub-chat") -> dict[str, Any]:
    """A chat, agent or completion application's settings, as its page sends them."""
    nothing: dict[str, Any] = {"enabled": False}
    return {
        **FEATURES,
        "model": {"provider": PROVIDER, "name": model, "mode": "chat", "completion_params": {"temperature": 0.5}},
        "pre_prompt": "You are helpful.",
        "prompt_type": "simple",
        "user_input_form": [],
        "dataset_query_variable": "",
        "more_like_this": nothing,
        "annotation_reply": nothing,
        "external_data_tools": [],
        "chat_prompt_config": {},
        "completion_prompt_config": {},
        "agent_mode": {"enabled": False, "max_iteration": 5, "strategy": "function_call", "tools": []},
        "dataset_configs": {"retrieval_model": "multiple", "datasets": {"datasets": []}},
    }


FEATURES = {
    "opening_statement": "",
    "suggested_questions": [],
    "suggested_questions_after_answer": {"enabled": False},
    "text_to_speech": {"enabled": False},
    "speech_to_text": {"enabled": False},
    "retriever_resource": {"enabled": True},
    "sensitive_word_avoidance": {"enabled": False},
    "file_upload": {"enabled": False},
}


def _reranking() -> dict[str, Any]:
    model = {"reranking_provider_name": PROVIDER, "reranking_model_name": "stub-rerank"}
    return {"top_k": 3, "reranking_enable": True, "reranking_mode": "reranking_model", "reranking_model": model}


def as_drawn(graph: Mapping[str, Any]) -> dict[str, Any]:
    """The stand-in's graph with what Dify's canvas adds to it: positions, sizes, what lies inside an iteration."""
    inside = {item["id"]: item["data"].get("iteration_id") for item in graph["nodes"]}
    nodes = [
        {
            **item,
            "type": "custom-iteration-start" if item["data"]["type"] == "iteration-start" else "custom",
            "position": {"x": 300 * place, "y": 100},
            "positionAbsolute": {"x": 300 * place, "y": 100},
            "width": 240,
            "height": 90,
            "sourcePosition": "right",
            "targetPosition": "left",
            "data": {"selected": False, **item["data"]},
        }
        for place, item in enumerate(graph["nodes"])
    ]
    edges = [
        {
            **edge,
            "data": {
                **edge["data"],
                "isInIteration": bool(inside[edge["source"]]),
                **({"iteration_id": inside[edge["source"]]} if inside[edge["source"]] else {}),
            },
        }
        for edge in graph["edges"]
    ]
    return {"nodes": nodes, "edges": edges}


def _without(graph: graphs.Graph, gone: str) -> graphs.Graph:
    """The graph without that node: what came after it follows what came before it."""
    before = next(edge["source"] for edge in graph["edges"] if edge["target"] == gone)
    nodes = [item for item in graph["nodes"] if item["id"] != gone]
    edges = [
        (before if edge["source"] == gone else edge["source"], edge["target"], edge["sourceHandle"])
        for edge in graph["edges"]
        if edge["target"] != gone
    ]
    for item in nodes:
        outputs = item["data"].get("outputs")
        if isinstance(outputs, list):
            item["data"]["outputs"] = [output for output in outputs if output["value_selector"][0] != gone]
    return graphs.graph(nodes, *edges)


def _agent_node() -> graphs.Node:
    weather = {
        "enabled": True,
        "type": "builtin",
        "provider_name": TOOL,
        "provider_show_name": TOOL,
        "tool_name": "weather",
        "tool_label": "weather",
        "tool_description": "weather",
        "settings": {},
        "parameters": {"city": {"auto": 1, "value": None}},
        "schemas": [],
        "extra": {"description": "weather"},
    }
    model = {"provider": PROVIDER, "model": "stub-chat", "model_type": "llm", "mode": "chat", "completion_params": {}}
    values = {
        "model": {**model, "type": "model-selector"},
        "tools": [weather],
        "instruction": "Use the tools.",
        "query": "{{#sys.query#}}",
        "maximum_iterations": 3,
    }
    return graphs.node(
        "agent",
        "agent",
        "Agent",
        agent_strategy_provider_name="langgenius/stubagent/stubagent",
        agent_strategy_name="function_calling",
        agent_strategy_label="FunctionCalling",
        plugin_unique_identifier="langgenius/stubagent:0.0.1@" + "0" * 64,
        tool_node_version="2",
        output_schema=None,
        agent_parameters={name: {"type": "constant", "value": value} for name, value in values.items()},
    )


def _http_node(url: str) -> graphs.Node:
    seconds = {"connect": 5, "read": 10, "write": 10}
    seconds |= {f"max_{name}_timeout": 0 for name in ("connect", "read", "write")}
    return graphs.node(
        "http",
        "http-request",
        "HTTP",
        method="get",
        url=url,
        authorization={"type": "no-auth", "config": None},
        headers="",
        params="",
        body={"type": "none", "data": []},
        variables=[],
        timeout=seconds,
        retry_config={"retry_enabled": False, "max_retries": 1, "retry_interval": 100},
    )


def _line(*nodes: graphs.Node) -> graphs.Graph:
    return graphs.graph(list(nodes), *((a["id"], b["id"]) for a, b in pairwise(nodes)))


def _agent_mode(tool: str) -> dict[str, Any]:
    described = {
        "provider_id": TOOL,
        "provider_type": "builtin",
        "provider_name": TOOL,
        "tool_name": tool,
        "tool_label": tool,
        "tool_parameters": {"city": ""},
        "enabled": True,
        "notAuthor": False,
        "isDeleted": False,
    }
    return {"enabled": True, "max_iteration": 5, "strategy": "function_call", "prompt": None, "tools": [described]}


def applications(console: Console, url: str, dataset_id: str | None) -> dict[str, Application]:
    """One application of every kind. `url` is what the HTTP node asks; without a dataset there is no retrieval."""
    start, end, llm = graphs.start("query"), graphs.end(out=["llm", "text"]), graphs.llm
    main = graphs.main_graph(dataset_id or "")
    branches = [llm("a", "LLM a", "a {{#start.query#}}"), llm("b", "LLM b", "b {{#start.query#}}")]
    branches.append(graphs.tool("c", "{{#start.query#}}"))
    parallel = graphs.graph(
        [start, *branches, graphs.end(a=["a", "text"], b=["b", "text"], c=["c", "text"])],
        *(("start", name) for name in "abc"),
        *((name, "end") for name in "abc"),
    )
    workflows = {
        "wf-main": main if dataset_id else _without(main, "kr"),
        "wf-iter": graphs.iteration_graph(parallel=False),
        "wf-iter-par": graphs.iteration_graph(parallel=True),
        "wf-parallel": parallel,
        "wf-http": _line(start, _http_node(url), graphs.end(out=["http", "body"])),
        "wf-fail": _line(start, llm("llm", "LLM", "{{#start.query#}}", "fail-model"), end),
        "wf-fail-mid": _line(start, llm("llm", "LLM", "{{#start.query#}}", "fail-midway"), end),
        "wf-tool-fail": _line(start, graphs.tool("tool", "Berlin", "fail_tool"), graphs.end(out=["tool", "text"])),
    }
    chatflows = {
        "chatflow": _line(graphs.start(), llm("llm", "LLM", "{{#sys.query#}}"), graphs.answer("{{#llm.text#}}")),
        "chatflow-agent": _line(graphs.start(), _agent_node(), graphs.answer("{{#agent.text#}}")),
    }
    made = {name: console.workflow(name, "workflow", graph) for name, graph in workflows.items()}
    made |= {name: console.workflow(name, "advanced-chat", graph) for name, graph in chatflows.items()}
    made["chat"] = console.basic("chat", "chat")
    made["chat-fail"] = console.basic("chat-fail", "chat", "fail-model")
    made["agent-chat"] = console.basic("agent-chat", "agent-chat", agent_mode=_agent_mode("weather"))
    made["agent-chat-fail"] = console.basic("agent-chat-fail", "agent-chat", agent_mode=_agent_mode("fail_tool"))
    query = {"label": "query", "variable": "query", "required": True, "default": ""}
    made["completion"] = console.basic(
        "completion", "completion", pre_prompt="Write about {{query}}", user_input_form=[{"paragraph": query}]
    )
    if dataset_id:
        found = {"datasets": {"datasets": [{"dataset": {"enabled": True, "id": dataset_id}}]}}
        configured = {"retrieval_model": "multiple", "score_threshold_enabled": False, **_reranking(), **found}
        made["chat-dataset"] = console.basic("chat-dataset", "chat", dataset_configs=configured)
    return made
