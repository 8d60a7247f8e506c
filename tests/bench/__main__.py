"""Cost of a call against budgets, as ratios within one run. `python -m tests.bench`; 1 when one is broken.

Best of several repeats, because the machine has other things to do; the compared variants take turns, because its speed
drifts. Writes every figure to bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from time import perf_counter
from typing import Any

from dify_otel_instrumentors import model, node
from dify_otel_instrumentors.core import content, metrics, rules, span
from dify_otel_instrumentors.core.wrapper import instrument
from graphon.model_runtime.entities.llm_entities import LLMResult, LLMUsage
from graphon.model_runtime.entities.message_entities import AssistantPromptMessage, UserPromptMessage
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

ROOT = Path(__file__).resolve().parents[2]
REPEATS = 9
CALLS = 2000

BUDGETS = {
    "recorded call / bare span with the same attributes": 1.5,
    "stream chunk, µs": 1.0,
    "sampled-out call, µs": 6.0,
    "call before the SDK runs, µs": 2.0,
    "encoding 100 MB / encoding 8 KB": 2.0,
    "start-up of a process that is not Dify, ms": 5.0,
}


class _Null(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _Model:
    provider = "langgenius/openai/openai"
    model_name = "gpt"

    def __init__(self, result: LLMResult) -> None:
        self.result = result

    def invoke_llm(
        self,
        prompt_messages: Any,
        model_parameters: Any = None,
        tools: Any = None,
        stop: Any = None,
        stream: bool = True,
    ) -> Any:
        return self.result


def _provider(**kwargs: Any) -> TracerProvider:
    provider = TracerProvider(**kwargs)
    provider.add_span_processor(BatchSpanProcessor(_Null()))
    return provider


def best(*functions: Callable[[], Any], calls: int = CALLS) -> list[float]:
    """The quickest of several turns of each function, in microseconds a call."""
    found = [float("inf")] * len(functions)
    for _ in range(REPEATS):
        for i, function in enumerate(functions):
            began = perf_counter()
            for _ in range(calls):
                function()
            found[i] = min(found[i], (perf_counter() - began) / calls * 1e6)
    return found


def recorded_call() -> dict[str, float]:
    """A non-streamed model call, everything on but content, against the SDK's own span with the same attributes."""
    usage = LLMUsage.empty_usage().model_copy(update={"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30})
    result = LLMResult(model="gpt", message=AssistantPromptMessage(content="hello"), usage=usage)
    prompt = [UserPromptMessage(content="hi")]
    llm = _Model(result)
    wrapped = instrument(_Model.invoke_llm, model.CHAT)

    seen: list[ReadableSpan] = []

    class Keep(_Null):
        def export(self, spans: Any) -> SpanExportResult:
            seen.extend(spans)
            return SpanExportResult.SUCCESS

    once = TracerProvider()
    once.add_span_processor(BatchSpanProcessor(Keep()))
    span.configure(once.get_tracer("bench"), rules.Policy())
    wrapped(llm, prompt, {"temperature": 0.5}, stream=False)
    once.force_flush()
    attributes = dict(seen[0].attributes or {})

    provider = _provider()
    span.configure(provider.get_tracer("bench"), rules.Policy())
    tracer = provider.get_tracer("bench")

    def ours() -> None:
        wrapped(llm, prompt, {"temperature": 0.5}, stream=False)

    def bare() -> None:
        made = tracer.start_span("chat gpt", attributes=attributes)
        made.end()

    def plain() -> None:
        llm.invoke_llm(prompt, {"temperature": 0.5}, stream=False)

    call, sdk, nothing = best(ours, bare, plain)
    metrics.configure(MeterProvider().get_meter("bench"))
    with_metrics = best(ours)[0]
    metrics.configure(None)
    return {
        "attributes of the call": float(len(attributes)),
        "recorded call, µs": call,
        "recorded call with metrics, µs": with_metrics,
        "bare span, µs": sdk,
        "uninstrumented call, µs": nothing,
        "recorded call / bare span with the same attributes": call / sdk,
    }


def other_calls() -> dict[str, float]:
    """Sampled out, and before the SDK runs."""
    usage = LLMUsage.empty_usage()
    llm = _Model(LLMResult(model="gpt", message=AssistantPromptMessage(content="hello"), usage=usage))
    prompt = [UserPromptMessage(content="hi")]
    wrapped = instrument(_Model.invoke_llm, model.CHAT)

    def ours() -> None:
        wrapped(llm, prompt, None, stream=False)

    span.configure(TracerProvider(sampler=ALWAYS_OFF).get_tracer("bench"), rules.Policy())
    sampled_out = best(ours)[0]
    span.configure(None)
    before = best(ours)[0]
    return {"sampled-out call, µs": sampled_out, "call before the SDK runs, µs": before}


def stream_chunk() -> dict[str, float]:
    """What the relay adds to each item of a node's stream, with attach and detach."""
    items = 20_000
    event = type("NodeRunStreamChunkEvent", (), {"node_id": "n"})()

    class Node:
        node_type = "llm"

        def run(self) -> Generator[Any, None, None]:
            for _ in range(items):
                yield event

    relayed = instrument(Node.run, node.RUN)
    span.configure(_provider().get_tracer("bench"), rules.Policy())
    some = Node()

    def bare() -> None:
        for _ in some.run():
            pass

    def ours() -> None:
        for _ in relayed(some):
            pass

    without, with_relay = best(bare, ours, calls=1)
    span.configure(None)
    return {"stream chunk, µs": (with_relay - without) / items, "bare chunk, µs": without / items}


def encoding() -> dict[str, float]:
    """Content is encoded in proportion to the limit, not to the input."""
    small = {"text": "x" * 8192, "more": ["y" * 100] * 8}
    large = {"text": "x" * 100_000_000, "more": ["y" * 100] * 100_000}
    quick, slow = best(lambda: content.encode(small, 8192), lambda: content.encode(large, 8192), calls=200)
    return {"encoding 8 KB, µs": quick, "encoding 100 MB, µs": slow, "encoding 100 MB / encoding 8 KB": slow / quick}


def start_up() -> dict[str, float]:
    """What the injection folder costs a Python process that is not one of Dify's."""
    inject = ROOT / "bootstrap" / "dify_otel" / "inject"
    plain = {"PATH": os.environ["PATH"]}
    ours = {**plain, "PYTHONPATH": str(inject)}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "something.py"
        script.write_text("")

        def run(environment: dict[str, str]) -> float:
            began = perf_counter()
            subprocess.run([sys.executable, str(script)], env=environment, check=True)
            return (perf_counter() - began) * 1000

        run(ours)
        pairs = [(run(plain), run(ours)) for _ in range(15)]
    return {"start-up of a process that is not Dify, ms": min(b for _, b in pairs) - min(a for a, _ in pairs)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", default="bench.json")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    for part in (recorded_call, other_calls, stream_chunk, encoding, start_up):
        figures.update(part())
    Path(arguments.json).write_text(json.dumps({"figures": figures, "budgets": BUDGETS}, indent=1))
    broken = 0
    for name, value in figures.items():
        budget = BUDGETS.get(name)
        verdict = "" if budget is None else f"  budget {budget:g} {'ok' if value <= budget else 'BROKEN'}"
        broken += budget is not None and value > budget
        print(f"{value:10.3f}  {name}{verdict}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
