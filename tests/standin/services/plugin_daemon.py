"""Stand-in for Dify's plugin daemon: models, tools and an agent strategy whose answers depend on the request only.

Models: `stub-chat` (about 20 chunks, asks for a tool when it is given one), `slow` (the same, 50 ms a chunk),
`stub-big` (200 chunks), `fail-model` (fails before the first chunk), `fail-midway` (fails after five), `auth-fail`,
`stub-embed`, `stub-rerank`, `stub-moderation` (flags the word "forbidden"), `stub-speech2text`, `stub-tts`. Tools:
`weather`, `fail_tool`, `callback` (asks a model through the inner API), `picture` (gives a file). Under
`/agent-backend` it plays the agent backend of Dify 1.15 as well: one run, one tool, streamed events.
Run: `python plugin_daemon.py --port 0 --inner-api http://127.0.0.1:5001`.
"""

import argparse
import hashlib
import json
import math
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recording import RecordingHandler, serve

KEY = "plugin-api-key"
INNER_KEY = "inner-key"
INNER_API = ""
CHUNK_SECONDS = 0.002
PROMPT_UNIT_PRICE, ANSWER_UNIT_PRICE, PRICE_UNIT = 0.001, 0.002, 0.001
_ROUTE = re.compile(r"^/plugin/([^/]+)/dispatch/(.+)$")


class PluginError(Exception):
    """An error as plugin code raises it: its type's name and its message cross the wire."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def words(value: Any) -> list[str]:
    return re.findall(r"\w+", value if isinstance(value, str) else json.dumps(value))


def usage(prompt: int, answer: int, started: float, first: float | None) -> dict[str, Any]:
    prompt_price = prompt * PROMPT_UNIT_PRICE * PRICE_UNIT
    answer_price = answer * ANSWER_UNIT_PRICE * PRICE_UNIT
    now = time.perf_counter()
    return {
        "prompt_tokens": prompt,
        "prompt_unit_price": str(PROMPT_UNIT_PRICE),
        "prompt_price_unit": str(PRICE_UNIT),
        "prompt_price": f"{prompt_price:.9f}",
        "completion_tokens": answer,
        "completion_unit_price": str(ANSWER_UNIT_PRICE),
        "completion_price_unit": str(PRICE_UNIT),
        "completion_price": f"{answer_price:.9f}",
        "total_tokens": prompt + answer,
        "total_price": f"{prompt_price + answer_price:.9f}",
        "currency": "USD",
        "latency": now - started,
        "time_to_first_token": (first or now) - started,
        "time_to_generate": now - (first or now),
    }


def chunk(
    model: str,
    index: int,
    text: str,
    *,
    tool_calls: list[dict[str, Any]] | None = None,
    used: dict[str, Any] | None = None,
    reason: str | None = None,
) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "tool_calls": tool_calls or []}
    return {
        "model": model,
        "prompt_messages": [],
        "system_fingerprint": "fp_standin",
        "delta": {"index": index, "message": message, "usage": used, "finish_reason": reason},
    }


def llm_chunks(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    started = time.perf_counter()
    model = data["model"]
    if model == "fail-model":
        raise PluginError("InvokeBadRequestError", "[standin] the model refused the request")
    if model == "auth-fail":
        raise PluginError("InvokeAuthorizationError", "[standin] bad key")
    messages = data.get("prompt_messages") or []
    prompt = sum(len(words(message.get("content"))) for message in messages)
    last = str(messages[-1].get("content") or "") if messages else ""
    roles = [message.get("role") for message in messages]
    tools = {tool["name"]: tool for tool in data.get("tools") or []}
    known = ("fail_tool", "weather", "callback", "picture", "current_time")
    asked = next((name for name in tools if name in known), None)
    if asked is not None and "tool" not in roles[max((i for i, r in enumerate(roles) if r == "user"), default=0) :]:
        parameters = (tools[asked].get("parameters") or {}).get("properties") or {}
        arguments = json.dumps(dict.fromkeys(parameters, "Berlin"))
        call = {"id": "call_1", "type": "function", "function": {"name": asked, "arguments": arguments}}
        first = time.perf_counter()
        yield chunk(model, 0, "", tool_calls=[call])
        yield chunk(model, 1, "", used=usage(prompt, 5, started, first), reason="tool_calls")
        return
    system = str(messages[0].get("content") or "") if messages and roles[0] == "system" else ""
    if "JSON" in system and "category_id" in json.dumps(messages):
        answer = ['```json\n{"category_id": "1", "category_name": "weather"}\n```']
    elif system.startswith("ReAct") and "Observation:" not in json.dumps(messages):
        answer = ["Thought: I need the weather. ", 'Action: {"action": "weather", "action_input": {"city": "Berlin"}}']
    else:
        text = words(last)[-12:] or ["nothing"]
        answer = ["You ", "said: ", *[word + " " for word in text]]
        answer += [f"word{i} " for i in range(max(0, (200 if model == "stub-big" else 20) - len(answer)))]
    pause = 0.05 if model == "slow" else CHUNK_SECONDS
    first_at: float | None = None
    for index, piece in enumerate(answer):
        time.sleep(pause)
        if model == "fail-midway" and index == 5:
            raise PluginError("InvokeServerUnavailableError", "[standin] the model broke off")
        first_at = first_at or time.perf_counter()
        yield chunk(model, index, piece)
    yield chunk(model, len(answer), "", used=usage(prompt, len(answer), started, first_at), reason="stop")


def embedding(text: str) -> list[float]:
    vector = [0.0] * 64
    for word in words(text.lower()):
        vector[int.from_bytes(hashlib.sha256(word.encode()).digest()[:2], "big") % 64] += 1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]


def embeddings(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    texts = data.get("texts") or []
    tokens = sum(len(words(text)) for text in texts)
    yield {
        "model": data["model"],
        "embeddings": [embedding(text) for text in texts],
        "usage": {
            "tokens": tokens,
            "total_tokens": tokens,
            "unit_price": "0.0001",
            "price_unit": "0.001",
            "total_price": f"{tokens * 0.0000001:.9f}",
            "currency": "USD",
            "latency": 0.002,
        },
    }


def rerank(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    wanted = set(words(str(data.get("query")).lower()))
    docs = [
        {"index": i, "text": text, "score": round(len(wanted & set(words(text.lower()))) / (len(wanted) or 1), 4)}
        for i, text in enumerate(data.get("docs") or [])
    ]
    docs.sort(key=lambda doc: -doc["score"])
    yield {"model": data["model"], "docs": docs[: data.get("top_n") or len(docs)]}


_PROPERTIES: dict[str, tuple[str, list[str] | None, dict[str, Any]]] = {
    "llm": ("llm", ["multi-tool-call", "tool-call", "stream-tool-call"], {"mode": "chat", "context_size": 8192}),
    "stub-embed": ("text-embedding", None, {"context_size": 8192, "max_chunks": 10}),
    "stub-rerank": ("rerank", None, {"context_size": 8192}),
    "stub-moderation": ("moderation", None, {}),
    "stub-speech2text": ("speech2text", None, {}),
    "stub-tts": ("tts", None, {}),
}


def schema(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind, features, properties = _PROPERTIES.get(data["model"], _PROPERTIES["llm"])
    yield {
        "model_schema": {
            "model": data["model"],
            "label": {"en_US": data["model"]},
            "model_type": kind,
            "features": features,
            "fetch_from": "predefined-model",
            "model_properties": properties,
        }
    }


def tool(data: dict[str, Any], headers: Any, tenant: str, user: str) -> Iterator[dict[str, Any]]:
    city = str((data.get("tool_parameters") or {}).get("city") or "nowhere")
    if data["tool"] == "fail_tool":
        raise PluginError("ToolInvokeError", f"[standin] no weather for {city}")
    if data["tool"] == "picture":
        url = "/files/tools/4f1c3d6e-0000-4000-8000-000000000001.png?timestamp=1&nonce=n0nce&sign=signed-url-canary"
        meta = {"tool_file_id": "4f1c3d6e-0000-4000-8000-000000000001", "mime_type": "image/png"}
        yield {"type": "text", "message": {"text": f"A picture of {city}."}, "meta": None}
        yield {"type": "image_link", "message": {"text": url}, "meta": meta}
        return
    if data["tool"] == "callback":
        text = "".join(
            (record["data"]["delta"]["message"]["content"] or "")
            for record in ask_model(tenant, user, f"weather of {city}", headers)
        )
        yield {"type": "text", "message": {"text": text}, "meta": None}
        return
    yield {"type": "text", "message": {"text": f"The weather in {city} is sunny, 21 degrees."}, "meta": None}
    yield {"type": "json", "message": {"json_object": {"city": city, "degrees": 21}}, "meta": None}


def inner(path: str, payload: dict[str, Any], headers: Any) -> Iterator[dict[str, Any]]:
    """A call back into Dify. Like the real daemon since 0.5.3 it passes the caller's `traceparent` on."""
    sent = {"Content-Type": "application/json", "X-Inner-Api-Key": INNER_KEY}
    for name in ("traceparent", "tracestate"):
        if headers.get(name):
            sent[name] = headers[name]
    request = urllib.request.Request(INNER_API + path, json.dumps(payload).encode(), sent)
    with urllib.request.urlopen(request, timeout=60) as response:
        while len(head := response.read(4)) == 4:
            rest = response.read(int.from_bytes(head[2:4], "little"))
            record = json.loads(response.read(int.from_bytes(rest[:4], "little")))
            if record.get("error"):
                raise PluginError("PluginInvokeError", str(record["error"]))
            yield record


def ask_model(tenant: str, user: str, text: str, headers: Any) -> Iterator[dict[str, Any]]:
    payload = {
        "tenant_id": tenant,
        "user_id": user,
        "provider": "langgenius/stub/stub",
        "model": "stub-chat",
        "model_type": "llm",
        "stream": True,
        "completion_params": {},
        "stop": [],
        "prompt_messages": [{"role": "user", "content": text}],
    }
    return inner("/inner/api/invoke/llm", payload, headers)


def agent(data: dict[str, Any], headers: Any, tenant: str, user: str) -> Iterator[dict[str, Any]]:
    parameters = data["agent_strategy_params"]

    def log(id: str, label: str, status: str, content: dict[str, Any], parent: str | None = None) -> dict[str, Any]:
        message = {
            "id": id,
            "label": label,
            "parent_id": parent,
            "error": None,
            "status": status,
            "data": content,
            "metadata": {},
        }
        return {"type": "log", "message": message, "meta": None}

    yield log("round-1", "ROUND 1", "start", {})
    yield log("thought-1", "stub-chat Thought", "start", {}, "round-1")
    text, used = "", None
    for record in ask_model(tenant, user, str(parameters.get("query")), headers):
        delta = record["data"]["delta"]
        text += delta["message"]["content"] or ""
        used = delta.get("usage") or used
    yield log("thought-1", "stub-chat Thought", "success", {"output": text}, "round-1")
    for item in parameters.get("tools") or []:
        yield log("call-1", f"CALL {item['tool_name']}", "start", {}, "round-1")
        payload = {
            "tenant_id": tenant,
            "user_id": user,
            "tool_type": "builtin",
            "provider": item["provider_name"],
            "tool": item["tool_name"],
            "tool_parameters": {"city": "Berlin"},
        }
        answers = [record["data"] for record in inner("/inner/api/invoke/tool", payload, headers)]
        yield log("call-1", f"CALL {item['tool_name']}", "success", {"output": answers}, "round-1")
    yield log("round-1", "ROUND 1", "success", {"output": text})
    yield {"type": "text", "message": {"text": text}, "meta": None}
    metadata = {
        "total_tokens": (used or {}).get("total_tokens", 0),
        "prompt_tokens": (used or {}).get("prompt_tokens", 0),
        "completion_tokens": (used or {}).get("completion_tokens", 0),
    }
    yield {"type": "json", "message": {"json_object": {"execution_metadata": metadata}}, "meta": None}


def agent_run(composition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A run of the agent backend: a tool is called, then the answer comes in pieces."""

    def stream(data: dict[str, Any], delta: str | None = None) -> dict[str, Any]:
        return {"type": "pydantic_ai_event", "data": data, "agent_message_delta": delta}

    yield {"type": "run_started"}
    query = str(composition.get("query"))
    if "fail-agent" in query:
        yield {"type": "run_failed", "data": {"error": "[standin] the agent gave up", "reason": "model_error"}}
        return
    call = {"tool_name": "weather", "args": '{"city": "Berlin"}', "tool_call_id": "call_a", "part_kind": "tool-call"}
    yield stream({"event_kind": "part_start", "index": 0, "part": call})
    yield stream({"event_kind": "function_tool_call", "part": call})
    answer = {
        "tool_name": "weather",
        "content": "sunny, 21 degrees",
        "tool_call_id": "call_a",
        "part_kind": "tool-return",
    }
    time.sleep(0.01)
    yield stream({"event_kind": "function_tool_result", "result": answer})
    pieces = ["You ", "said: ", *[word + " " for word in words(query)[-12:]]]
    yield stream({"event_kind": "part_start", "index": 0, "part": {"part_kind": "text", "content": ""}})
    for piece in pieces:
        time.sleep(CHUNK_SECONDS)
        yield stream({"event_kind": "part_delta"}, piece)
    used = {"prompt_tokens": len(words(query)), "completion_tokens": len(pieces)}
    price = {"total_price": "0.000012", "prompt_price": "0.000004", "completion_price": "0.000008", "currency": "USD"}
    total = used["prompt_tokens"] + used["completion_tokens"]
    yield {
        "type": "run_succeeded",
        "data": {"output": "".join(pieces), "usage": {**used, "total_tokens": total, **price}},
    }


def count(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"num_tokens": len(words(data.get("prompt_messages")))}


def count_texts(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"num_tokens": [len(words(text)) for text in data.get("texts") or []]}


def moderation(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"result": "forbidden" in str(data.get("text")).lower()}


def speech_to_text(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"result": f"{len(bytes.fromhex(data['file']))} bytes were spoken"}


def text_to_speech(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for word in words(data.get("content_text")):
        yield {"result": word.encode().hex()}


def mcp_result(request: dict[str, Any]) -> dict[str, Any]:
    """What an MCP server answers: its protocol, or that its weather is sunny and all other tools fail."""
    if request["method"] == "initialize":
        return {"protocolVersion": request["params"]["protocolVersion"], "capabilities": {}, "serverInfo": {}}
    tool = request["params"]["name"]
    known = tool == "weather"
    return {"content": [{"type": "text", "text": "sunny" if known else f"no tool {tool}"}], "isError": not known}


_ANSWERS: dict[str, Callable[[dict[str, Any]], Iterator[dict[str, Any]]]] = {
    "model/schema": schema,
    "llm/invoke": llm_chunks,
    "llm/num_tokens": count,
    "text_embedding/invoke": embeddings,
    "text_embedding/num_tokens": count_texts,
    "rerank/invoke": rerank,
    "moderation/invoke": moderation,
    "speech2text/invoke": speech_to_text,
    "tts/invoke": text_to_speech,
}


class PluginDaemonHandler(RecordingHandler):
    def stream(self, items: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

        def put(payload: dict[str, Any]) -> None:
            line = b"data: " + json.dumps(payload).encode() + b"\n\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

        try:
            for item in items:
                put({"code": 0, "message": "success", "data": item})
        except PluginError as error:
            arguments = {"description": error.message}
            detail = json.dumps({"error_type": error.kind, "message": error.message, "args": arguments})
            wire = json.dumps({"error_type": "PluginInvokeError", "message": detail})
            put({"code": -500, "message": wire, "data": None})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    runs: dict[str, dict[str, Any]] = {}

    def agent_backend(self, body: dict[str, Any]) -> None:
        self.remember("agent-backend")
        if self.command == "POST":
            run_id = f"run-{len(self.runs) + 1}"
            self.runs[run_id] = body["composition"]
            self.answer({"run_id": run_id, "status": "running"})
            return
        run_id = self.path.split("/")[3]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in agent_run(self.runs[run_id]):
            line = b"data: " + json.dumps({"run_id": run_id, **event}).encode() + b"\n\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def route(self) -> None:
        if self.housekeeping():
            return
        body = json.loads(self.body() or b"{}")
        if self.path == "/external/retrieval":
            self.remember("external")
            record = {"content": f"External about {body['query']}", "score": 0.9, "title": "external", "metadata": {}}
            self.answer({"records": [record]})
            return
        if self.path.startswith("/agent-backend/runs"):
            self.agent_backend(body)
            return
        if self.path.startswith("/mcp"):
            self.remember("mcp")
            self.answer({"jsonrpc": "2.0", "id": body["id"], "result": mcp_result(body)})
            return
        if self.path.startswith("/echo"):
            self.remember("echo")
            self.answer({"path": self.path, "traceparent": self.headers.get("traceparent")})
            return
        match = _ROUTE.match(self.path)
        data = body.get("data") or {}
        self.remember(str(data.get("model") or data.get("tool") or data.get("agent_strategy") or ""))
        if match is None:
            self.answer({"code": -404, "message": "not found", "data": None}, 404)
            return
        if self.headers.get("X-Api-Key") != KEY:
            self.answer({"code": -401, "message": "unauthorized", "data": None}, 401)
            return
        tenant, action = match.groups()
        user = str(body.get("user_id"))
        if action == "tool/invoke":
            self.stream(tool(data, self.headers, tenant, user))
        elif action == "agent_strategy/invoke":
            self.stream(agent(data, self.headers, tenant, user))
        elif action in _ANSWERS:
            self.stream(_ANSWERS[action](data))
        else:
            self.answer({"code": -404, "message": f"no {action}", "data": None}, 404)

    do_GET = do_POST = do_PUT = do_DELETE = route


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand-in for the plugin daemon.")
    parser.add_argument("--port", type=int, default=5002)
    parser.add_argument("--inner-api", default="http://127.0.0.1:5001")
    options = parser.parse_args()
    INNER_API = options.inner_api
    serve(PluginDaemonHandler, options.port)
