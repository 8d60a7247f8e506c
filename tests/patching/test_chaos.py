"""A failure of ours never reaches Dify: every function of ours raises in turn, and what Dify does stays as it was.

The functions are found by looking through the package, so a new one is covered the day it is written. The Dify here is
a handful of modules at the seams' real addresses, with real signatures.
"""

from __future__ import annotations

import ast
import contextvars
import functools
import importlib
import inspect
import pkgutil
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace
from typing import Any

import dify_otel_instrumentors
import pytest
from dify_otel_instrumentors import seams
from dify_otel_instrumentors.core import guard, hooks, metrics, span
from dify_otel_instrumentors.core.operation import Operation, Tap
from dify_otel_instrumentors.core.rules import Policy

MODULES = {
    "services.app_generate_service": """
class RateLimitGenerator:
    def __init__(self, generator):
        self.generator = generator
        self.closed = False
    def __iter__(self):
        return self
    def __next__(self):
        if self.closed:
            raise StopIteration
        return next(self.generator)
    def close(self):
        self.closed = True
        self.generator.close()

class AppGenerateService:
    last = None
    @classmethod
    def generate(cls, app_model, user, args, invoke_from, streaming=True, *, session=None):
        from core.app.apps.workflow.app_generator import WorkflowAppGenerator
        answer = WorkflowAppGenerator().generate(app_model=app_model, user=user, args=args, invoke_from=invoke_from, streaming=streaming)
        if streaming:
            cls.last = RateLimitGenerator(answer)
            return cls.last
        return answer
""",  # noqa: E501
    "core.app.apps.workflow.app_generator": """
class WorkflowAppGenerator:
    def generate(self, *, app_model, workflow=None, user, args, invoke_from, streaming=True, call_depth=0):
        from core.app.apps.workflow.app_runner import WorkflowAppRunner
        runner = WorkflowAppRunner(args)
        runner.run()
        if not streaming:
            return {"workflow_run_id": "run", "data": {"status": "succeeded", "outputs": runner.outputs}}
        def stream():
            yield 'data: {"event": "workflow_started", "workflow_run_id": "run"}'
            yield 'data: {"event": "text_chunk", "data": {"text": "otters"}}'
            got = yield 'data: {"event": "workflow_finished", "data": {"status": "failed", "error": "no"}}'
            return got
        return stream()
""",
    "core.app.apps.workflow_app_runner": """
class WorkflowBasedAppRunner:
    def _handle_event(self, workflow_entry, event):
        self.events.append(event)
""",
    "core.app.apps.workflow.app_runner": """
from types import SimpleNamespace
from core.app.apps.workflow_app_runner import WorkflowBasedAppRunner
from graphon.nodes.base.node import Node

class GraphRunSucceededEvent:
    outputs = {"a": 1}

class GraphRunFailedEvent:
    error = "broken"

class WorkflowAppRunner(WorkflowBasedAppRunner):
    def __init__(self, args):
        self.events = []
        self.outputs = {}
        self.application_generate_entity = SimpleNamespace(
            app_config=SimpleNamespace(app_id="app", tenant_id="tenant", workflow_id="w"), invoke_from="web-app",
            workflow_execution_id="run", inputs=args, files=[], extras={}, call_depth=0)
    def run(self):
        for fails in (False, True):
            for event in Node("n%d" % fails, fails).run():
                self.outputs.setdefault("events", []).append(type(event).__name__)
        state = SimpleNamespace(total_tokens=3, node_run_steps=2, llm_usage=None)
        entry = SimpleNamespace(graph_engine=SimpleNamespace(graph_runtime_state=state))
        self._handle_event(entry, GraphRunSucceededEvent())
        self._handle_event(entry, GraphRunFailedEvent())
        self._handle_event(entry, object())
""",
    "graphon.nodes.base.node": """
from types import SimpleNamespace

class NodeRunStartedEvent:
    def __init__(self, node_id): self.node_id, self.id, self.predecessor_node_id = node_id, "exec", None
class NodeRunStreamChunkEvent:
    def __init__(self, node_id): self.node_id = node_id
class NodeRunSucceededEvent:
    def __init__(self, node_id, result): self.node_id, self.node_run_result = node_id, result
class NodeRunFailedEvent(NodeRunSucceededEvent): pass

class Node:
    node_type, title, workflow_id, error_strategy = "llm", "Node", "w", None
    def __init__(self, id, fails):
        self.id, self.fails, self.graph_runtime_state = id, fails, SimpleNamespace(variable_pool=None)
    def run(self):
        yield NodeRunStartedEvent(self.id)
        yield NodeRunStreamChunkEvent(self.id)
        result = SimpleNamespace(inputs={"q": 1}, process_data={}, outputs={"o": 2}, metadata={"total_tokens": 3},
                                 error="broken", error_type="ValueError", edge_source_handle="source", status="x")
        yield (NodeRunFailedEvent if self.fails else NodeRunSucceededEvent)(self.id, result)
""",
    "core.model_manager": """
class ModelInstance:
    provider, model_name = "langgenius/openai/openai", "gpt"
    def invoke_llm(self, prompt_messages, model_parameters=None, tools=None, stop=None, stream=True, user=None, callbacks=None):
        if not stream:
            return CHUNKS[-1]
        def chunks():
            for chunk in CHUNKS:
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
        return chunks()
    def invoke_text_embedding(self, texts, input_type=None):
        raise FAILURE
    def invoke_rerank(self, query, docs, score_threshold=None, top_n=None):
        return RANKED
    def invoke_tts(self, content_text, voice=""):
        return (part for part in (b"a", b"b"))
CHUNKS, FAILURE, RANKED = [], RuntimeError("provider"), None
""",  # noqa: E501
    "core.tools.__base.tool": """
class Tool:
    entity, runtime = None, None
    def tool_provider_type(self):
        return "builtin"
    def invoke(self, session, user_id, tool_parameters, conversation_id=None, app_id=None, message_id=None):
        return self._invoke(tool_parameters)
    def _invoke(self, parameters):
        for name in parameters:
            if name == "fail":
                raise FAILURE
            yield MESSAGE
FAILURE, MESSAGE = LookupError("tool"), None
""",
    "core.tools.tool_engine": """
from core.tools.__base.tool import Tool
class ToolEngine:
    @staticmethod
    def agent_invoke(session, tool, tool_parameters, user_id, tenant_id, message):
        try:
            return "".join(str(m) for m in tool.invoke(session, user_id, tool_parameters)), ["file"], META
        except LookupError:
            return "tool invoke error", [], META
META = None
""",
    "core.rag.retrieval.dataset_retrieval": """
class DatasetRetrieval:
    def retrieve(self, app_id, user_id, tenant_id, model_config, config, query, invoke_from=None, message_id=""):
        return self.multiple_retrieve(app_id, tenant_id, query)[0].page_content
    def multiple_retrieve(self, app_id, tenant_id, query, top_k=2, score_threshold=0.5):
        return DOCUMENTS
DOCUMENTS = []
""",
    "core.helper.code_executor.code_executor": """
class CodeExecutor:
    @classmethod
    def execute_code(cls, language, preload, code):
        return "out"
""",
    "core.agent.base_agent_runner": """
class BaseAgentRunner:
    def create_agent_thought(self, message_id, message, tool_name, tool_input, messages_ids):
        return "thought"
    def save_agent_thought(self, agent_thought_id, tool_name, tool_input, thought, observation, tool_invoke_meta, answer, messages_ids, llm_usage=None):
        return None
""",  # noqa: E501
    "core.agent.fc_agent_runner": """
from types import SimpleNamespace
from core.agent.base_agent_runner import BaseAgentRunner
class FunctionCallAgentRunner(BaseAgentRunner):
    app_config = SimpleNamespace(agent=SimpleNamespace(strategy="function-calling", max_iteration=3), app_id="app")
    model_instance, conversation = None, None
    def run(self, message, query, **kwargs):
        for round in range(2):
            self.create_agent_thought("m", "", "", "", [])
            yield CHUNK
            self.save_agent_thought("t", "tool" if not round else None, {}, "thinking", "seen", None, "", [])
CHUNK = None
""",
}


class Library:
    """Finds the modules above; every other import goes its own way."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname in MODULES or any(name.startswith(fullname + ".") for name in MODULES):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname not in MODULES)
        return None

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        exec(compiled(module.__name__), vars(module))


@functools.cache
def compiled(name: str) -> Any:
    return compile(MODULES.get(name, ""), f"<{name}>", "exec")


ROOTS = {name.split(".")[0] for name in MODULES}


@pytest.fixture
def dify(quiet_guard: Any) -> Iterator[Callable[[], None]]:
    """The library in place, hooked afresh by calling it."""
    hidden = {n: m for n, m in sys.modules.items() if n.split(".")[0] in ROOTS}
    library = Library()
    sys.meta_path.insert(0, library)  # type: ignore[arg-type]

    def forget() -> None:
        for name in [n for n in sys.modules if n.split(".")[0] in ROOTS]:
            del sys.modules[name]

    def begin() -> None:
        forget()
        hooks.undo()
        if library not in sys.meta_path:
            sys.meta_path.insert(0, library)  # type: ignore[arg-type]

    forget()
    yield begin
    hooks.undo()
    forget()
    sys.meta_path.remove(library)  # type: ignore[arg-type]
    sys.modules.update(hidden)


def chunk(text: str, last: bool = False) -> Any:
    usage = SimpleNamespace(prompt_tokens=3, completion_tokens=4, total_tokens=7, total_price=0.5, currency="USD")
    message = SimpleNamespace(content=text, tool_calls=[], reasoning_content=None)
    delta = SimpleNamespace(message=message, usage=usage if last else None, finish_reason="stop" if last else None)
    return SimpleNamespace(delta=delta, model="gpt", message=message, usage=usage)


@dataclass
class Seen:
    """What a caller sees of one action: objects by identity."""

    what: list[Any]

    def add(self, act: Callable[[], Any]) -> Any:
        try:
            result = act()
        except BaseException as error:
            self.what.append(("raised", id(error) if not isinstance(error, StopIteration) else error.value))
            return None
        self.what.append(result)
        return result


OBJECTS = SimpleNamespace(
    chunks=[chunk("a"), chunk("b"), chunk("c", last=True)],
    failing=[chunk("a"), ConnectionError("mid-stream")],
    meta=SimpleNamespace(error=None, time_cost=0.5),
    message=SimpleNamespace(type="text", message=SimpleNamespace(text="rain"), meta={}),
    documents=[SimpleNamespace(page_content="doc", metadata={"score": 0.5, "document_id": "d"})],
    ranked=SimpleNamespace(docs=[SimpleNamespace(score=0.5)]),
    embedding=RuntimeError("provider"),
    tool=LookupError("tool"),
)


def drive() -> list[Any]:
    """Everything Dify does here, and all that a caller can see of it."""
    load = importlib.import_module
    model, tools = load("core.model_manager"), load("core.tools.__base.tool")
    model.CHUNKS, model.RANKED, model.FAILURE = OBJECTS.chunks, OBJECTS.ranked, OBJECTS.embedding
    tools.MESSAGE, tools.FAILURE = OBJECTS.message, OBJECTS.tool
    load("core.tools.tool_engine").META = OBJECTS.meta
    load("core.rag.retrieval.dataset_retrieval").DOCUMENTS = OBJECTS.documents
    load("core.agent.fc_agent_runner").CHUNK = OBJECTS.chunks[0]
    seen = Seen([])
    service = load("services.app_generate_service")
    app = SimpleNamespace(id="app", tenant_id="tenant", name="App", mode="workflow")
    user = SimpleNamespace(id="user", session_id="session")
    for streaming in (True, False):
        answer = seen.add(
            lambda streaming=streaming: service.AppGenerateService.generate(
                app_model=app, user=user, args={"inputs": {"q": "otters"}}, invoke_from="web-app", streaming=streaming
            )
        )
        if streaming:
            seen.what[-1] = answer is service.AppGenerateService.last and type(answer.generator) is types.GeneratorType
            seen.add(lambda answer=answer: list(answer.generator))
            answer.close()
    instance = model.ModelInstance()
    stream = seen.add(lambda: list(instance.invoke_llm([], {"temperature": 0.5}, stream=True)))
    seen.what.append([id(c) for c in stream or ()])
    seen.add(lambda: id(instance.invoke_llm(prompt_messages=[], stream=False)))
    model.CHUNKS = OBJECTS.failing
    stream = instance.invoke_llm([])
    seen.add(lambda: next(stream))
    seen.add(lambda: next(stream))
    seen.add(lambda: next(stream))
    model.CHUNKS = OBJECTS.chunks
    stream = instance.invoke_llm([])
    seen.add(lambda: next(stream))
    seen.add(lambda: stream.send(None))
    seen.add(lambda: stream.throw(OBJECTS.tool))
    stream = instance.invoke_llm([])
    seen.add(lambda: next(stream))
    seen.add(stream.close)
    stream = None
    # When each piece is made and when it is there: nothing is read ahead, nothing held back.
    order: list[Any] = []

    def pieces() -> Iterator[Any]:
        for number, piece in enumerate(OBJECTS.chunks):
            order.append(("made", number))
            yield piece

    model.CHUNKS = pieces()
    seen.add(lambda: [order.append(("got", number)) for number, _ in enumerate(instance.invoke_llm([]))])
    seen.what.append(order)
    model.CHUNKS = OBJECTS.chunks
    seen.add(lambda: instance.invoke_llm([], no_such_parameter=1) and None)
    seen.what[-1] = seen.what[-1][0]  # a TypeError of Python's own
    seen.add(lambda: instance.invoke_text_embedding(["x"]))
    seen.add(lambda: id(instance.invoke_rerank("q", ["d"], top_n=1)))
    seen.add(lambda: list(instance.invoke_tts("text")))
    tool = tools.Tool()
    seen.add(lambda: [id(m) for m in tool.invoke(None, "u", {"a": 1})])
    seen.add(lambda: list(tool.invoke(None, "u", {"a": 1, "fail": 1})))
    engine = load("core.tools.tool_engine").ToolEngine
    seen.add(lambda: engine.agent_invoke(None, tool, {"a": 1}, "u", "t", None)[1:])
    seen.add(lambda: engine.agent_invoke(None, tool, {"fail": 1}, "u", "t", None))
    retrieval = load("core.rag.retrieval.dataset_retrieval").DatasetRetrieval()
    seen.add(lambda: retrieval.retrieve("app", "u", "t", None, None, "query"))
    seen.add(lambda: id(retrieval.multiple_retrieve("app", "t", "query")))
    seen.add(lambda: load("core.helper.code_executor.code_executor").CodeExecutor.execute_code("python3", "", "x"))
    seen.add(lambda: [id(c) for c in load("core.agent.fc_agent_runner").FunctionCallAgentRunner().run(None, "q")])
    return seen.what


class Chaos(Exception):
    pass


BOUNDARY = {
    # What stands right around Dify's call: each is guarded as a whole inside, which a test below reads from its code.
    *(
        f"core.span.{kind}.{name}"
        for kind in ("Call", "Merged")
        for name in ("enter", "leave", "observe", "finish", "fail")
    ),
    "core.wrapper._observed",
}
EXEMPT = BOUNDARY | {
    # What the whole suite turns on and off.
    "core.guard.loud",
    "core.guard.failed",
    "core.guard.counts",
    # Called by the garbage collector, which prints what it raises and goes on.
    "core.collected._phase",
    # By then these are Dify's generator and Dify's loader themselves.
    "core.stream._relay",
    "core.hooks._Finder.find_spec",
    "core.hooks._Loader.create_module",
    "core.hooks._Loader.exec_module",
}


def functions_of_ours() -> dict[str, tuple[Any, str, Any]]:
    """Every function and method in the package, by dotted name: owner, attribute, raw."""
    found: dict[str, tuple[Any, str, Any]] = {}
    package = dify_otel_instrumentors
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        short = info.name.removeprefix(package.__name__ + ".")
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) and value.__module__ == info.name:
                found[f"{short}.{name}"] = (module, name, value)
            elif isinstance(value, type) and value.__module__ == info.name and not issubclass(value, Exception):
                for attribute, raw in vars(value).items():
                    ours = raw.fget if isinstance(raw, property) else raw
                    if isinstance(ours, FunctionType) and ours.__module__ == info.name:
                        found[f"{short}.{name}.{attribute}"] = (value, attribute, raw)
    return {name: entry for name, entry in found.items() if name not in EXEMPT}


AROUND = {
    # What stands in the place of Dify's function; each is read by a test below.
    "core.wrapper.instrument.<locals>.wrapper",
    "core.wrapper.tap.<locals>.wrapper",
}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is of Python 3.12")
def test_every_piece_of_code_of_ours_may_raise_closures_lambdas_and_generators_too(dify: Any, bare: list[Any]) -> None:
    """Whatever code of ours runs: at its first instruction, and at every step of a generator after that."""
    from tests.patching import chaos_program as monitored

    folder = dify_otel_instrumentors.__path__[0]

    def name_of(key: str) -> str:
        file, name, _ = key.split(":")
        module = file.removeprefix(folder + "/").removesuffix(".py").replace("/", ".")
        return f"{module}.{name}"

    configure()
    dify()
    hooks.apply(seams.SEAMS)
    try:
        ran = monitored.watch(folder)
        assert drive() == bare
    finally:
        monitored.calm()
    keys = {key: name for key in ran if (name := name_of(key)) not in EXEMPT | AROUND}
    assert len(keys) > 150, sorted(keys.values())
    assert any("<lambda>" in name for name in keys.values()) and any("<locals>" in name for name in keys.values())
    different, steps = [], 0
    for key, name in sorted(keys.items()):
        for again in (False, True) if key in monitored.generators else (False,):
            fired = monitored.raise_in(key, again)
            try:
                told = contextvars.copy_context().run(drive)
            finally:
                monitored.calm()
            steps += again and fired() > 0
            if told != bare:
                different.append((name, "again" if again else "at first"))
    assert different == []
    assert steps > 20


def raising(original: Any) -> Any:
    if isinstance(original, property):
        return property(raising(original.fget))

    @functools.wraps(original)
    def explode(*args: Any, **kwargs: Any) -> Any:
        raise Chaos

    return explode


def operations() -> dict[str, tuple[Any, str]]:
    """Every function an operation or a tap was made of, closures included: holder and field."""
    found: dict[str, tuple[Any, str]] = {}
    for seam in seams.SEAMS:
        for field in ("name", "before", "during", "after", "applies", "parent", "opened", "claims", "replace", "only"):
            if isinstance(seam.does, Operation | Tap) and callable(getattr(seam.does, field, None)):
                found[f"{seam.name}.{field}"] = (seam.does, field)
    return found


_bare: list[Any] = []


@pytest.fixture
def bare(dify: Any) -> list[Any]:
    if not _bare:
        dify()
        _bare.extend(drive())
    return _bare


def configure(content: bool = True) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    nowhere = Resource.get_empty()  # Resource.create would look through every installed distribution
    provider = TracerProvider(resource=nowhere, shutdown_on_exit=False)
    policy = Policy(content_on_spans=content, content_on_events=content, error_text=content)
    span.configure(provider.get_tracer("chaos"), policy, lambda *_: None)
    metrics.configure(MeterProvider([InMemoryMetricReader()], nowhere, shutdown_on_exit=False).get_meter("chaos"))
    return provider


def instrumented(dify: Any) -> list[Any]:
    dify()
    hooks.apply(seams.SEAMS)
    return drive()


@pytest.fixture(autouse=True)
def unconfigured() -> Iterator[None]:
    yield
    span.configure(None)
    metrics.configure(None)


@pytest.mark.parametrize("content", [False, True])
def test_instrumented_is_as_bare_and_nothing_had_to_be_swallowed(dify: Any, bare: list[Any], content: bool) -> None:
    configure(content)
    assert instrumented(dify) == bare
    assert guard.counts() == {}


def test_without_an_sdk_it_is_as_bare(dify: Any, bare: list[Any]) -> None:
    span.configure(None)
    assert instrumented(dify) == bare


@pytest.mark.parametrize("when", ["while hooking", "while running"])
@pytest.mark.parametrize("name", sorted(functions_of_ours()))
def test_every_function_of_ours_may_raise(
    name: str, when: str, dify: Any, bare: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, attribute, raw = functions_of_ours()[name]
    entry_points = {"core.hooks.apply", "core.hooks.undo", "core.hooks.after_import", "core.span.configure"}
    if name in entry_points | {"core.metrics.configure", "core.rules.set_policy"} or name.startswith(
        "core.span._Runtime"
    ):
        pytest.skip("called by the bootstrap, which catches what it raises: tests/bootstrap")
    if when == "while running":
        configure()
        dify()
        hooks.apply(seams.SEAMS)
        for module in MODULES:
            importlib.import_module(module)
        monkeypatch.setattr(owner, attribute, raising(raw))
        told = drive()
        monkeypatch.undo()
    else:
        dify()
        if name not in ("core.hooks._hook",):
            monkeypatch.setattr(owner, attribute, raising(raw))
        with pytest.MonkeyPatch.context():
            try:
                configure()
                hooks.apply(seams.SEAMS)
            except Chaos:
                pass  # the bootstrap's to catch
            told = drive()
        monkeypatch.undo()
    assert told == bare


@pytest.mark.parametrize("name", sorted(operations()))
def test_every_function_of_every_operation_may_raise(name: str, dify: Any, bare: list[Any]) -> None:
    holder, field = operations()[name]
    original = getattr(holder, field)
    object.__setattr__(holder, field, raising(original))
    try:
        configure()
        assert instrumented(dify) == bare
    finally:
        object.__setattr__(holder, field, original)


SDK = [
    "start_span",
    "set_attributes",
    "set_attribute",
    "add_event",
    "set_status",
    "end",
    "is_recording",
    "get_span_context",
]


@pytest.mark.parametrize("method", [*SDK, "attach", "detach", "get_current", "record", "add"])
def test_every_method_of_the_sdk_may_raise(
    method: str, dify: Any, bare: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import context as otel_context
    from opentelemetry.sdk import trace as sdk_trace
    from opentelemetry.sdk.metrics._internal import instrument

    configure()
    dify()
    hooks.apply(seams.SEAMS)

    def explode(*_: Any, **__: Any) -> Any:
        raise Chaos

    if hasattr(otel_context, method):
        monkeypatch.setattr(otel_context, method, explode)
    for kind in (sdk_trace.Tracer, sdk_trace.Span, instrument.Histogram, instrument.Counter, instrument.UpDownCounter):
        if method in vars(kind):
            monkeypatch.setattr(kind, method, explode)
    # In a context of its own: what a broken `detach` leaves attached must not reach the next test.
    told = contextvars.copy_context().run(drive)
    monkeypatch.undo()
    assert told == bare


def test_the_inspection_sees_the_package() -> None:
    names = functions_of_ours()
    for expected in (
        "core.wrapper.binder",
        "core.span.begin",
        "core.span.Call.tell",
        "model._chat_during",
        "core.content.encode",
    ):
        assert expected in names
    assert len(names) > 200
    assert len(operations()) > 60
    assert inspect.isfunction(names["core.span.begin"][2])


@pytest.mark.parametrize("name", sorted(BOUNDARY | AROUND))
def test_what_stands_around_a_call_is_guarded_as_a_whole(name: str) -> None:
    """Outside its `try … except Exception` it calls Dify's function and nothing but its like."""
    wrapping = importlib.import_module("dify_otel_instrumentors.core.wrapper")
    *_, kind, attribute = name.removesuffix(".<locals>.wrapper").split(".")
    owner = getattr(span, kind, None) or wrapping
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(owner, attribute))))
    allowed = {n.rsplit(".", 1)[1] for n in BOUNDARY} | {"failed"}
    if name in AROUND:
        allowed.add("function")
        inner = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "wrapper"]
        tree = ast.Module(body=[inner[0]], type_ignores=[])

    def unguarded(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            if called not in allowed:
                yield ast.unparse(node)
        if isinstance(node, ast.Try) and any(
            ast.unparse(h.type or ast.Name("all")) == "Exception" for h in node.handlers
        ):
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                yield from unguarded(part)
            return
        for child in ast.iter_child_nodes(node):
            yield from unguarded(child)

    body = tree.body[0]
    assert isinstance(body, ast.FunctionDef)
    assert [call for statement in body.body for call in unguarded(statement)] == []
