"""Requests as our agent would send them, written by hand: one workflow with everything in it, and small spans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dify_otel.tail.span import Event, Link, Span

START_NS = 1_795_384_023_000_000_000
TRACE_ID = "7b1e9d4c0f3a4d5e8a6b2c1d0e9f8a7b"
API = {"service.name": "dify-api", "service.version": "1.16.1", "telemetry.sdk.name": "opentelemetry"}
WORKER = {"service.name": "dify-worker", "service.version": "1.16.1"}
PLUGINS = {"service.name": "dify-plugin-daemon"}


def span(
    number: int,
    parent: int,
    name: str,
    start_ms: float,
    end_ms: float,
    attributes: Mapping[str, Any] | None = None,
    **more: Any,
) -> Span:
    more = {"kind": "INTERNAL", "trace_id": TRACE_ID, "resource": API, **more}
    return Span(
        span_id=f"{number:016x}",
        parent_id=f"{parent:016x}" if parent else "",
        name=name,
        start_ns=START_NS + int(start_ms * 1e6),
        end_ns=START_NS + int(end_ms * 1e6),
        attributes=attributes or {},
        **more,
    )


def node(number: int, parent: int, kind: str, title: str, start_ms: float, end_ms: float, **attributes: Any) -> Span:
    more = attributes.pop("more", {})
    described = {"gen_ai.span.kind": "TASK", "dify.node.type": kind, "dify.node.title": title}
    described |= {"dify.node.status": "succeeded", "dify.node.id": f"17{number:08d}", **attributes}
    return span(number, parent, f"{kind} {title}", start_ms, end_ms, described, **more)


def messages(*turns: tuple[str, str]) -> str:
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": content}]} for role, content in turns],
        ensure_ascii=False,
    )


def chat(number: int, parent: int, start_ms: float, end_ms: float, tokens: tuple[int, int], **attributes: Any) -> Span:
    more = attributes.pop("more", {})
    described = {
        "gen_ai.span.kind": "LLM",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "stub-chat",
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
        "gen_ai.response.finish_reasons": ["stop"],
        "dify.usage.cost.total": round(tokens[0] * 2.5e-6 + tokens[1] * 1e-5, 7),
        "dify.usage.cost.currency": "USD",
        **attributes,
    }
    return span(number, parent, "chat stub-chat", start_ms, end_ms, described, **{"kind": "CLIENT", **more})


QUESTION = "My parcel has not arrived. It was due on Monday, order 48213. Can you check?"
ANSWER = (
    "Your parcel left our warehouse on Saturday and is now at the depot in Graz. Heavy snow holds up deliveries "
    "there until tomorrow.\n\nI have marked order 48213 as urgent. You will get a message as soon as it is on its way."
)
DOCUMENTS = [
    {"id": "a3f1-0007", "score": 0.91, "title": "Delays and weather", "content": "Deliveries in the Alps pause …"},
    {"id": "a3f1-0031", "score": 0.84, "title": "Urgent marking", "content": "Support may mark an order as urgent …"},
    {"id": "a3f1-0012", "score": 0.52, "title": "Refunds", "content": "A refund is possible after ten days."},
]


def request(content: bool = True, failing: bool = True) -> list[Span]:
    """A workflow: retrieval, an agent with a tool, an iteration over SQL, an answer; optionally one failing node."""

    def with_content(**attributes: Any) -> dict[str, Any]:
        return {key.replace("__", "."): value for key, value in attributes.items()} if content else {}

    app = {
        "gen_ai.span.kind": "ENTRY",
        "dify.app.name": "Support triage",
        "dify.app_id": "5f0c2a1e-8c0b-4a53-9d0e-0b6c3f6b7a10",
        "dify.app.mode": "workflow",
        "dify.streaming": True,
        "dify.app.time_to_first_chunk": 1.93,
        "gen_ai.user.id": "anna",
        "dify.io.sql.count": 23,
        "dify.io.sql.duration": 0.041,
    }
    spans = [
        span(
            1,
            0,
            "POST /v1/workflows/run",
            0,
            3420,
            {"http.request.method": "POST", "http.route": "/v1/workflows/run", "http.response.status_code": 200},
            kind="SERVER",
            scope="opentelemetry.instrumentation.flask",
            scope_version="0.66b2",
        ),
        span(2, 1, "dify.app Support triage", 14, 3416, app),
        span(3, 2, "apply_async/workflow_run", 31, 36, {"messaging.system": "redis"}, kind="PRODUCER"),
        span(
            4,
            3,
            "run/workflow_run",
            95,
            3390,
            {"messaging.system": "redis", "dify.queue.wait_time": 0.059},
            kind="CONSUMER",
            resource=WORKER,
        ),
        span(
            5,
            4,
            "invoke_workflow Support triage",
            101,
            3384,
            {
                "gen_ai.span.kind": "CHAIN",
                "gen_ai.operation.name": "invoke_workflow",
                "gen_ai.workflow.name": "Support triage",
                "dify.workflow.status": "partial-succeeded",
                "dify.workflow.total_tokens": 2113,
                "dify.workflow.run_id": "0c9a6e8e-52e2-4a4f-8f5e-4f6a2d9b1c33",
                **with_content(
                    input__value=json.dumps({"sys.query": QUESTION}), output__value=json.dumps({"text": ANSWER})
                ),
            },
            resource=WORKER,
            links=(Link("0f" * 16, "0e" * 8, {"dify.link.reason": "trigger"}),),
        ),
        node(6, 5, "start", "Start", 108, 110, more={"resource": WORKER}),
        node(7, 5, "knowledge-retrieval", "Help articles", 118, 402, more={"resource": WORKER}),
        span(
            8,
            7,
            "retrieval",
            121,
            399,
            {
                "gen_ai.span.kind": "RETRIEVER",
                "gen_ai.operation.name": "retrieval",
                "dify.retrieval.document_count": 3,
                "dify.retrieval.scores": [0.91, 0.84, 0.52],
                **with_content(
                    gen_ai__retrieval__query__text="parcel late snow",
                    gen_ai__retrieval__documents=json.dumps(DOCUMENTS),
                ),
            },
            kind="CLIENT",
            resource=WORKER,
        ),
        span(
            9,
            8,
            "embeddings stub-embed",
            124,
            201,
            {
                "gen_ai.span.kind": "EMBEDDING",
                "gen_ai.operation.name": "embeddings",
                "gen_ai.request.model": "stub-embed",
                "gen_ai.usage.input_tokens": 12,
                "dify.usage.cost.total": 0.00000024,
                "dify.usage.cost.currency": "USD",
            },
            kind="CLIENT",
            resource=WORKER,
        ),
        span(10, 8, "rerank stub-rerank", 262, 396, {"gen_ai.span.kind": "RERANKER"}, kind="CLIENT", resource=WORKER),
        node(11, 5, "agent", "Find the parcel", 410, 1790, more={"resource": WORKER}),
        span(
            12,
            11,
            "invoke_agent Find the parcel",
            414,
            1786,
            {"gen_ai.span.kind": "AGENT", "gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 1270},
            resource=WORKER,
        ),
        span(13, 12, "react step 1", 416, 1210, {"gen_ai.span.kind": "STEP", "gen_ai.react.round": 1}, resource=WORKER),
        chat(
            14,
            13,
            420,
            812,
            (512, 38),
            **{"gen_ai.response.time_to_first_chunk": 0.21, "gen_ai.response.finish_reasons": ["tool_call"]},
            **with_content(
                gen_ai__input__messages=messages(("user", QUESTION)),
                gen_ai__output__messages=json.dumps(
                    [
                        {
                            "role": "assistant",
                            "finish_reason": "tool_call",
                            "parts": [
                                {
                                    "type": "tool_call",
                                    "id": "call_1",
                                    "name": "parcel_status",
                                    "arguments": {"order": 48213},
                                }
                            ],
                        }
                    ]
                ),
            ),
            more={"resource": WORKER},
        ),
        span(
            15,
            13,
            "execute_tool parcel_status",
            818,
            1206,
            {
                "gen_ai.span.kind": "TOOL",
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "parcel_status",
                **with_content(
                    gen_ai__tool__call__arguments='{"order": 48213}',
                    gen_ai__tool__call__result='{"place": "Graz depot", "held": true, "why": "snow"}',
                ),
            },
            resource=WORKER,
        ),
        span(
            16,
            15,
            "POST",
            823,
            1201,
            {"http.request.method": "POST", "server.address": "plugin_daemon", "http.response.status_code": 200},
            kind="CLIENT",
            resource=WORKER,
        ),
        span(17, 16, "POST /plugin/dispatch/tool/invoke", 829, 1196, {}, kind="SERVER", resource=PLUGINS),
        span(
            18, 12, "react step 2", 1214, 1782, {"gen_ai.span.kind": "STEP", "gen_ai.react.round": 2}, resource=WORKER
        ),
        chat(
            19,
            18,
            1219,
            1778,
            (758, 61),
            **{"gen_ai.response.time_to_first_chunk": 0.18},
            **with_content(
                gen_ai__input__messages=messages(("user", QUESTION), ("tool", "Graz depot, held: snow")),
                gen_ai__output__messages=messages(("assistant", "The parcel is held at the Graz depot.")),
            ),
            more={"resource": WORKER},
        ),
        node(20, 5, "iteration", "Each past order", 1796, 1884, more={"resource": WORKER}),
        *(
            span(
                21 + index,
                20,
                "SELECT dify",
                1800 + 13 * index,
                1811 + 13 * index,
                {"db.system.name": "postgresql", "db.operation.name": "SELECT"},
                kind="CLIENT",
                resource=WORKER,
            )
            for index in range(6)
        ),
        node(30, 5, "llm", "Answer", 1890, 3340, more={"resource": WORKER}),
        chat(
            31,
            30,
            1896,
            3334,
            (641, 103),
            **{"gen_ai.response.time_to_first_chunk": 0.047},
            **with_content(
                gen_ai__system_instructions=json.dumps(
                    [
                        {
                            "type": "text",
                            "content": "You are the support desk of a small parcel service. Be kind and short.",
                        }
                    ]
                ),
                gen_ai__input__messages=messages(
                    ("user", QUESTION), ("assistant", "Let me look that up."), ("user", "Thank you!")
                ),
                gen_ai__output__messages=messages(("assistant", ANSWER)),
            ),
            more={"resource": WORKER},
        ),
        node(40, 5, "end", "End", 3372, 3378, more={"resource": WORKER}),
    ]
    if failing:
        spans.append(
            node(
                32,
                5,
                "code",
                "Parse",
                3344,
                3368,
                **{"dify.node.status": "failed", "error.type": "CodeExecutionError"},
                more={
                    "resource": WORKER,
                    "status": "ERROR",
                    "status_message": "KeyError: 'order_id' in line 4 of main()",
                    "events": (
                        Event(
                            "exception",
                            START_NS + int(3366e6),
                            {
                                "exception.type": "CodeExecutionError",
                                "exception.message": "KeyError: 'order_id' in line 4 of main()",
                                "exception.stacktrace": 'Traceback (most recent call last):\n  File "main.py", line 4',
                            },
                        ),
                    ),
                },
            )
        )
    return spans
