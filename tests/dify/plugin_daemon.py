"""The stand-in's plugin daemon, with what a real Dify asks beside the calls themselves: which plugins there are.

Dify's console and its runtime read declarations (models with their parameters and prices, tools, agent strategies) from
the daemon's management routes before anything is invoked. The invocations are those of `tests/standin`: the shapes on
that wire are the same in every release. Run: `python plugin_daemon.py --port 0 --inner-api http://127.0.0.1:5001`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, unquote, urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "standin" / "services"))

import plugin_daemon as standin  # the other file of this name: the folder above is first on the path
import recording

VERSION = "0.0.1"
CHECKSUM = "0" * 64
CREATED = "2026-01-01T00:00:00Z"
_MANAGEMENT = re.compile(r"^/plugin/([^/]+)/(?:management/|asset/)(.*)$")


def both(text: str) -> dict[str, str]:
    return {"en_US": text, "zh_Hans": text}


def _rule(name: str, kind: str, default: float, highest: float, precision: int) -> dict[str, Any]:
    bounds = {"default": default, "min": 0, "max": highest, "precision": precision}
    return {
        "name": name,
        "use_template": name,
        "label": both(name),
        "type": kind,
        "required": False,
        "options": [],
    } | bounds


def _model(name: str, kind: str, properties: dict[str, Any], price: tuple[str, str | None] | None) -> dict[str, Any]:
    chat = kind == "llm"
    return {
        "model": name,
        "label": both(name),
        "model_type": kind,
        "fetch_from": "predefined-model",
        "features": ["tool-call", "multi-tool-call", "stream-tool-call"] if chat else None,
        "model_properties": properties,
        "parameter_rules": [_rule("temperature", "float", 0.7, 2, 2), _rule("max_tokens", "int", 512, 4096, 0)]
        if chat
        else [],
        "pricing": price and {"input": price[0], "output": price[1], "unit": "0.001", "currency": "USD"},
        "deprecated": False,
    }


_CHAT = {"mode": "chat", "context_size": 32000}
VOICES = [{"mode": "anna", "name": "Anna", "language": ["en-US"]}]
MODELS = [
    *(_model(name, "llm", _CHAT, ("0.001", "0.002")) for name in ("stub-chat", "slow", "fail-model", "fail-midway")),
    _model("stub-embed", "text-embedding", {"context_size": 8000, "max_chunks": 16}, ("0.0001", None)),
    _model("stub-rerank", "rerank", {"context_size": 8000}, None),
    _model("stub-react", "llm", _CHAT, ("0.001", "0.002")) | {"features": []},
    _model("stub-rounds", "llm", _CHAT, ("0.001", "0.002")),
    _model("stub-vision", "llm", _CHAT, ("0.001", "0.002")) | {"features": ["vision", "document"]},
    _model("stub-moderation", "moderation", {}, None),
    _model("stub-speech2text", "speech2text", {"file_upload_limit": 25, "supported_file_extensions": "mp3,wav"}, None),
    _model("stub-tts", "tts", {"default_voice": "anna", "voices": VOICES, "word_limit": 500, "max_workers": 2}, None),
]
_KEY_FIELD = {
    "variable": "api_key",
    "label": both("API key"),
    "type": "secret-input",
    "required": True,
    "default": None,
    "options": None,
    "placeholder": both("key"),
    "max_length": 0,
    "show_on": [],
}
MODEL_PROVIDER = {
    "provider": "stub",
    "label": both("Stub"),
    "description": both("Models that answer from the request alone"),
    "icon_small": both("icon.svg"),
    "icon_large": both("icon.svg"),
    "background": "#fff",
    "help": None,
    "supported_model_types": ["llm", "text-embedding", "rerank", "moderation", "speech2text", "tts"],
    "configurate_methods": ["predefined-model"],
    "models": MODELS,
    "provider_credential_schema": {"credential_form_schemas": [_KEY_FIELD]},
    "model_credential_schema": None,
    "position": {},
}
OPENAI = MODEL_PROVIDER | {
    "provider": "openai",
    "supported_model_types": ["moderation"],
    "models": [_model(name, "moderation", {}, None) for name in ("omni-moderation-latest", "text-moderation-stable")],
}
"""By this name Dify's own OpenAI moderation asks for its model."""

_PLAIN = {"default": None, "options": [], "scope": None, "auto_generate": None, "template": None}
_BOUNDS = {"min": None, "max": None, "precision": None}


def _identity(name: str, **more: Any) -> dict[str, Any]:
    return {"author": "langgenius", "name": name, "label": both(name), **more}


def _tool(name: str) -> dict[str, Any]:
    city = {
        "name": "city",
        "label": both("City"),
        "human_description": both("City"),
        "placeholder": None,
        "type": "string",
        "form": "llm",
        "llm_description": "name of the city",
        "required": True,
    }
    return {
        "identity": _identity(name, provider="stubtool", icon=None),
        "parameters": [city | _PLAIN | _BOUNDS],
        "description": {"human": both(name), "llm": f"{name} of a city"},
        "output_schema": {},
        "has_runtime_parameters": False,
    }


TOOLS = {
    "identity": _identity("stubtool", description=both("Weather"), icon="icon.svg", tags=["weather"]),
    "plugin_id": "langgenius/stubtool",
    "credentials_schema": [],
    "oauth_schema": None,
    "tools": [_tool("weather"), _tool("fail_tool")],
}


def _parameter(name: str, kind: str, required: bool = True, **more: Any) -> dict[str, Any]:
    described = {"name": name, "label": both(name), "type": kind, "required": required}
    return described | {"placeholder": None, "help": None} | _PLAIN | _BOUNDS | more


STRATEGIES = {
    "identity": _identity("stubagent", description=both("Agent"), icon="icon.svg", tags=[]),
    "plugin_id": "langgenius/stubagent",
    "strategies": [
        {
            "identity": _identity("function_calling", provider="stubagent", icon=None),
            "parameters": [
                _parameter("model", "model-selector", scope="tool-call&llm"),
                _parameter("tools", "array[tools]", False),
                _parameter("instruction", "string"),
                _parameter("query", "string"),
                _parameter("maximum_iterations", "number", False, default=3),
            ],
            "description": both("Function calling"),
            "output_schema": None,
            "features": ["history-messages"],
            "meta_version": "0.0.2",
        }
    ],
}


def _source(name: str, kind: str) -> dict[str, Any]:
    one = {"identity": _identity(name, provider=name, icon="icon.svg"), "parameters": [], "description": both(name)}
    return {
        "identity": _identity(name, description=both(name), icon="icon.svg", tags=[]),
        "credentials_schema": [],
        "oauth_schema": None,
        "provider_type": kind,
        "datasources": [one | {"output_schema": None}],
    }


SOURCES = {
    name: _source(name, kind) for name, kind in (("stubpages", "online_document"), ("stubsite", "website_crawl"))
}
TRIGGERS = {
    "identity": _identity("stubtrigger", description=both("Mail"), icon="icon.svg", tags=[]),
    "subscription_schema": [],
    "subscription_constructor": None,
    "events": [
        {"identity": _identity("mail_came"), "parameters": [], "description": both("Mail came"), "output_schema": {}},
    ],
}
PLUGINS: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"langgenius/{name}": ("datasource", source) for name, source in SOURCES.items()},
    "langgenius/stub": ("model", MODEL_PROVIDER),
    "langgenius/openai": ("model", OPENAI),
    "langgenius/stubtool": ("tool", TOOLS),
    "langgenius/stubagent": ("agent_strategy", STRATEGIES),
    "langgenius/stubtrigger": ("trigger", TRIGGERS),
}


def unique(plugin: str) -> str:
    return f"{plugin}:{VERSION}@{CHECKSUM}"


def declaration(plugin: str) -> dict[str, Any]:
    kind, content = PLUGINS[plugin]
    kinds = ("tool", "model", "endpoint", "agent_strategy", "datasource", "trigger")
    return {
        **dict.fromkeys(kinds),
        "version": VERSION,
        "author": "langgenius",
        "name": plugin.partition("/")[2],
        "description": both(plugin),
        "icon": "icon.svg",
        "icon_dark": None,
        "label": both(plugin),
        "category": kind.replace("_", "-"),
        "created_at": CREATED,
        "resource": {"memory": 1048576, "permission": None},
        "plugins": {"tools": [], "models": [], "endpoints": [], "datasources": [], "triggers": []},
        "tags": [],
        "repo": None,
        "verified": True,
        "meta": {"minimum_dify_version": None, "version": VERSION},
        kind: content,
    }


def installation(tenant: str, plugin: str) -> dict[str, Any]:
    identifier = f"00000000-0000-4000-8000-{list(PLUGINS).index(plugin):012d}"
    return {
        "id": identifier,
        "installation_id": identifier,
        "created_at": CREATED,
        "updated_at": CREATED,
        "tenant_id": tenant,
        "endpoints_setups": 0,
        "endpoints_active": 0,
        "runtime_type": "local",
        "source": "package",
        "meta": {},
        "plugin_id": plugin,
        "plugin_unique_identifier": unique(plugin),
        "version": VERSION,
        "checksum": CHECKSUM,
        "name": plugin.partition("/")[2],
        "declaration": declaration(plugin),
    }


def provider(plugin: str, name: str, tenant: str, **more: Any) -> dict[str, Any]:
    found = installation(tenant, plugin)
    kept = ("id", "created_at", "updated_at", "tenant_id", "plugin_id", "plugin_unique_identifier")
    return {key: found[key] for key in kept} | {"provider": name, "declaration": PLUGINS[plugin][1]} | more


class Missing(Exception):
    """Nothing here by that name; the daemon says so inside an answer of status 200."""


def management(action: str, tenant: str, query: dict[str, list[str]], body: dict[str, Any]) -> Any:
    """The `data` of a management answer. Raises `Missing`."""
    strategies = provider(
        "langgenius/stubagent", "stubagent", tenant, meta={"minimum_dify_version": None, "version": "0.0.2"}
    )
    tools = provider("langgenius/stubtool", "stubtool", tenant)
    asked = [
        plugin for plugin in PLUGINS if any(plugin in unquote(value) for found in query.values() for value in found)
    ]
    match action:
        case "models":
            return [provider(f"langgenius/{name}", name, tenant) for name in ("stub", "openai")]
        case "tools":
            return [tools]
        case "tool":
            if query.get("provider", [""])[0].rpartition("/")[2] != "stubtool":
                raise Missing(action)
            return tools
        case "tools/check_existence":
            return [item.get("plugin_id") == "langgenius/stubtool" for item in body.get("provider_ids", [])]
        case "agent_strategies":
            return [strategies]
        case "agent_strategy":
            return strategies
        case "installation/fetch/batch":
            return [installation(tenant, plugin) for plugin in body.get("plugin_ids", []) if plugin in PLUGINS]
        case "fetch/identifier":
            return True
        case "fetch/readme":
            return {"content": "", "language": "en_US"}
        case "fetch/manifest":
            return declaration(asked[0])
        case "decode/from_identifier":
            return {"unique_identifier": unique(asked[0]), "manifest": declaration(asked[0]), "verification": None}
        case "list":
            return {
                "list": [installation(tenant, plugin) for plugin in PLUGINS],
                "total": len(PLUGINS),
                "has_more": False,
            }
        case "datasources":
            return [provider(f"langgenius/{name}", name, tenant, is_authorized=False) for name in SOURCES]
        case "datasource":
            name = query.get("provider", [""])[0]
            if name not in SOURCES:
                raise Missing(action)
            return provider(f"langgenius/{name}", name, tenant, is_authorized=False)
        case "triggers":
            return [provider("langgenius/stubtrigger", "stubtrigger", tenant)]
        case "trigger":
            if query.get("provider", [""])[0] != "stubtrigger":
                raise Missing(action)
            return provider("langgenius/stubtrigger", "stubtrigger", tenant)
        case "install/tasks" | "installation/missing":
            return []
    if action.endswith("/list"):
        return management("list", tenant, query, body)
    raise Missing(action)


def schema(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from ({"model_schema": model} for model in MODELS + OPENAI["models"] if model["model"] == data["model"])


def credentials(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"result": True, "credentials": data.get("credentials") or {}}


def runtime_parameters(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"parameters": []}


def moderation(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Dify 1.16 and before send every letter on a line of its own."""
    return standin.moderation({**data, "text": str(data.get("text")).replace("\n", "")})


def voices(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"voices": [{"name": voice["name"], "value": voice["mode"]} for voice in VOICES]}


_PLAN = {
    "title": "Sorts letters",
    "description": "Says what a letter is about.",
    "app_name": "Sorter",
    "mode": "workflow",
    "nodes": [
        {"id": "start", "label": "Start", "node_type": "start", "purpose": "Takes a letter."},
        {"id": "end", "label": "End", "node_type": "end", "purpose": "Gives it back."},
    ],
    "edges": [{"source": "start", "target": "end"}],
    "start_inputs": [{"variable": "letter", "label": "Letter", "type": "paragraph"}],
}
_WRITTEN = {
    "Generate a Question and Answer pairs": "Q1: What swims?\nA1: Otters.\n\nQ2: What sleeps?\nA2: Cats.",
    "convert simple user descriptions into properly formatted JSON Schema": '{"type": "object", "properties": {}}',
    "Both your input and output should be in JSON": '{"modified": "Answer shortly.", "message": "It is shorter now."}',
    "You are a Dify workflow planner": json.dumps(_PLAN),
    "You configure exactly ONE node": '{"config": {}}',
    "proposing example build instructions": '["Send the weather every morning.", "Sort letters by sender."]',
}
"""What is written for Dify itself, by words of its instruction."""


def _asked_for(data: dict[str, Any]) -> str | None:
    """The answer where Dify wants one in a form of its own: questions a person might ask next, a schema, a prompt."""
    messages = data.get("prompt_messages") or [{}]
    if str(messages[-1].get("content") or "").rstrip().endswith("\nquestions:"):
        return '["Where does the Spree begin?", "And where does it end?"]'
    instruction = str(messages[0].get("content") or "")
    return next((text for words, text in _WRITTEN.items() if words in instruction), None)


_ACTION = 'Thought: I look it up.\nAction:\n```json\n{"action": "%s", "action_input": {"city": "%s"}}\n```'


def _next_step(data: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]] | None]:
    """What an agent's model says to the tools it has: it asks the first one about two cities, then it answers."""
    messages = data.get("prompt_messages") or [{}]
    if data["model"] == "stub-react":
        known = re.search(r"weather|fail_tool", str(messages[0].get("content")))
        steps = str(messages).count('"action_input"') - str(messages[0]).count('"action_input"')
        if known is None or steps >= 2:
            return "Thought: I know enough.\nFinal Answer: It is sunny in both.", None
        return _ACTION % (known[0], ("Berlin", "Paris")[steps]), None
    since = max((i for i, m in enumerate(messages) if m.get("role") == "user"), default=0)
    steps = sum(m.get("role") == "tool" for m in messages[since:])
    tools = [t for t in data.get("tools") or [] if data["model"] == "stub-rounds" or t["name"].startswith("dataset_")]
    if not tools or steps >= (2 if data["model"] == "stub-rounds" else 1):
        return None, None
    known = (tools[0].get("parameters") or {}).get("properties") or {}
    arguments = json.dumps(dict.fromkeys(known, ("Berlin", "Paris")[steps]))
    function = {"name": tools[0]["name"], "arguments": arguments}
    return "", [{"id": f"call_{steps}", "type": "function", "function": function}]


def chunks(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The stand-in's answers, and those that Dify wants in a form of its own."""
    text, called = _asked_for(data), None
    if text is None:
        text, called = _next_step(data)
    if any(tool["name"] == "extract_parameters" for tool in data.get("tools") or []):
        function = {"name": "extract_parameters", "arguments": '{"city": "Berlin"}'}
        text, called = "", [{"id": "call_1", "type": "function", "function": function}]
    if text is None:
        yield from standin.llm_chunks(data)
        return
    now = time.perf_counter()
    yield standin.chunk(data["model"], 0, text, tool_calls=called)
    yield standin.chunk(data["model"], 1, "", used=standin.usage(100, 12, now, now), reason="stop")


PAGE = {"page_id": "page", "page_name": "Page", "page_icon": None, "type": "page", "last_edited_time": CREATED}
SITE = {"source_url": "http://127.0.0.1/site", "title": "Site", "description": "A site"}


def pages(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    workspace = {"workspace_id": "space", "workspace_name": "Space", "workspace_icon": None, "total": 1}
    yield {"result": [workspace | {"pages": [PAGE | {"parent_id": None}]}]}


def page_content(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A page is its own name, in three paragraphs."""
    text = "\n\n".join(f"{data['page']['page_id']} says {what}." for what in ("this", "that", "more"))
    yield {"type": "variable", "message": {"variable_name": "content", "variable_value": text, "stream": False}}


def crawl(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"result": {"status": "processing", "web_info_list": [], "total": 1, "completed": 0}}
    found = [SITE | {"content": "Otters swim."}]
    yield {"result": {"status": "completed", "web_info_list": found, "total": 1, "completed": 1}}


def embeddings(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A text may say that it is refused until a time, in seconds since 1970, or that it takes seconds."""
    text = " ".join(data.get("texts") or [])
    refused, slow = (re.search(rf"{words} (\d+)", text) for words in ("refused until", "embedded in"))
    if refused and time.time() < int(refused[1]):
        raise standin.PluginError("InvokeServerUnavailableError", "[standin] not yet")
    if slow:
        time.sleep(int(slow[1]))
    yield from standin.embeddings(data)


def dispatched(_: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One event of whatever a subscription is sent."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}"
    yield {"user_id": "mailbox", "events": ["mail_came"], "response": answer.hex(), "payload": {"subject": "Otters"}}


def event(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"variables": dict(data.get("payload") or {}), "cancelled": False}


standin._ANSWERS |= {
    "trigger/dispatch_event": dispatched,
    "trigger/invoke_event": event,
    "datasource/get_online_document_pages": pages,
    "datasource/get_online_document_page_content": page_content,
    "datasource/get_website_crawl": crawl,
    "text_embedding/invoke": embeddings,
    "llm/invoke": chunks,
    "moderation/invoke": moderation,
    "tts/model/voices": voices,
    "model/schema": schema,
    "model/validate_provider_credentials": credentials,
    "model/validate_model_credentials": credentials,
    "tool/validate_credentials": credentials,
    "tool/get_runtime_parameters": runtime_parameters,
}
_standin_agent = standin.agent


def agent(data: dict[str, Any], headers: Any, tenant: str, user: str) -> Iterator[dict[str, Any]]:
    """A real Dify describes a tool by its identity."""
    parameters = data["agent_strategy_params"]
    for item in parameters.get("tools") or []:
        identity = item.get("identity") or {}
        item.setdefault("tool_name", identity.get("name"))
        item.setdefault("provider_name", identity.get("provider"))
    return _standin_agent(data, headers, tenant, user)


_standin_inner = standin.inner


def inner(path: str, payload: dict[str, Any], headers: Any) -> Iterator[dict[str, Any]]:
    """A real Dify's inner API checks what it is sent, and says what it misses."""
    needed: dict[str, Any] = {"mode": "chat", "tools": []} if path.endswith("/llm") else {"credential_id": None}
    try:
        yield from _standin_inner(path, {**needed, **payload}, headers)
    except HTTPError as error:
        raise standin.PluginError("InnerApiError", f"{path}: {error.code} {error.read().decode()[:500]}") from None


standin.agent = agent
standin.inner = inner


class DifysPluginDaemon(standin.PluginDaemonHandler):
    """Answers the management routes itself and leaves the rest to the stand-in."""

    def answer(self, payload: Any, status: int = 200) -> None:
        # A daemon says that something is unknown inside an answer of status 200; Dify retries other statuses.
        if status == 404 and isinstance(payload, dict) and self.path.startswith("/plugin/"):
            message = json.dumps({"error_type": "PluginDaemonNotFoundError", "message": str(payload.get("message"))})
            payload, status = {**payload, "message": message}, 200
        super().answer(payload, status)

    def route(self) -> None:
        parts = urlsplit(self.path)
        match = _MANAGEMENT.match(parts.path)
        if match is None:
            super().route()
            return
        raw = self.body()
        self.remember("management")
        if self.headers.get("X-Api-Key") != standin.KEY:
            self.answer({"code": -401, "message": "unauthorized", "data": None}, 401)
            return
        try:
            body = json.loads(raw or b"{}")
            data = management(match.group(2), match.group(1), parse_qs(parts.query), body)
        except (Missing, IndexError):
            self.answer({"code": -404, "message": f"no {match.group(2)}", "data": None}, 404)
            return
        self.answer({"code": 0, "message": "success", "data": data})

    do_GET = do_POST = do_PUT = do_DELETE = route


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand-in for the plugin daemon of a real Dify.")
    parser.add_argument("--port", type=int, default=5002)
    parser.add_argument("--inner-api", default="http://127.0.0.1:5001")
    options = parser.parse_args()
    standin.INNER_API = options.inner_api
    recording.serve(DifysPluginDaemon, options.port)
