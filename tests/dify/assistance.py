"""Kinds of runs in which Dify does something beside a model's answer: it listens, speaks, forbids, remembers, writes.

Speech, moderation, annotated answers, the console's generators, nodes that read files and sort questions, retrieval
tests, pictures. Each function is like those of `further.py`: made through the console, started with us in Dify, judged.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dify_otel.tail.span import Span

from tests.dify import console, judgement
from tests.dify.calls import RUN, Case
from tests.dify.console import PROVIDER, Application
from tests.dify.further import MODEL, USER, WORKER_SECONDS, Lacking, Stage, _below, _has
from tests.standin import drive, graphs
from tests.standin.drive import QUERY, Outcome

SPOKEN = "These letters are what a microphone heard."
PICTURE = "GIF89a, and then nothing that anybody could look at: " + "cat " * 64
PRESET = "I may not talk about that."
WORD = "Germany"
"""What no question may have: `drive.QUERY` has it, and so has the stand-in's answer."""
_NO_WORD = "Liechtenstein"
_FIRST = "You"
"""The answer's first word: some releases take no more of an answer that is not streamed."""
UNENDED_SECONDS = 15.0
"""A chatflow's run that never starts has no end that Dify's relay knows: in 1.13 and 1.14 its stream stays open."""


def _of_the_model(name: str, operation: str | None = None) -> dict[str, Any]:
    said = {"gen_ai.request.model": name, "gen_ai.provider.name": "stub", "dify.model.provider": PROVIDER}
    return said | ({"gen_ai.operation.name": operation} if operation else {})


def _amiss(what: str, seen: object, wanted: object) -> list[str]:
    return [] if seen == wanted else [f"{what} is {seen!r}, not {wanted!r}"]


def _values(spans: Sequence[Span], name: str, attribute: str) -> list[Any]:
    return [span.attributes.get(attribute) for span in spans if span.name.startswith(name)]


def _under(spans: Sequence[Span], name: str, parent: str) -> list[str]:
    by_id = {span.span_id: span for span in spans}
    above = [by_id[s.parent_id].name if s.parent_id in by_id else None for s in spans if s.name.startswith(name)]
    right = above and all(one is not None and one.startswith(parent) for one in above)
    return [] if right else [f"{name!r} is under {above}, not under {parent!r}"]


def _posted(stage: Stage, path: str, body: Any) -> tuple[str, Any]:
    """The trace a console user's request began, and its answer; of a stream the last event."""
    parent, trace_id = drive.traceparent()
    headers = {"Content-Type": "application/json", "traceparent": parent}
    with stage.console.open("POST", path, json.dumps(body).encode(), headers) as response:
        text = response.read().strip() or b"null"
    return trace_id, json.loads(text.rpartition(b"data: ")[2])


def _raw(stage: Stage, path: str, body: Any, key: str) -> tuple[str, bytes]:
    parent, trace_id = drive.traceparent()
    headers = {"Content-Type": "application/json", "traceparent": parent, "Authorization": f"Bearer {key}"}
    asked = urllib.request.Request(stage.base + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=60) as response:
        return trace_id, response.read()


# --- speech


def _speakers(stage: Stage) -> None:
    models = {"speech2text": "stub-speech2text", "tts": "stub-tts"}
    settings = [{"model_type": kind, "provider": PROVIDER, "model": model} for kind, model in models.items()]
    stage.console.request("POST", "/workspaces/current/default-model", {"model_settings": settings})


_HEARS: dict[str, Any] = {"speech_to_text": {"enabled": True}}
_VOICE = "anna"
_SPEAKS: dict[str, Any] = {"text_to_speech": {"enabled": True, "voice": _VOICE, "language": "en-US"}}
_SPEAKS_AT_ONCE: dict[str, Any] = {"text_to_speech": {**_SPEAKS["text_to_speech"], "autoPlay": "enabled"}}


def _heard(stage: Stage, app: Application) -> list[str]:
    body, kind = console.form("said.mp3", SPOKEN, of="audio/mp3", user=USER)
    trace_id, answer = stage.send("POST", "/v1/audio-to-text", body, app.key, kind)
    case = Case("heard", "post", "ok", ("speech_to_text stub-speech2text",), top="POST /v1/audio-to-text")
    spans, found = stage.judge(case, Outcome("heard", status="ok", trace_id=trace_id))
    text = f"{len(SPOKEN)} bytes were spoken"
    wanted = _of_the_model("stub-speech2text", "speech_to_text")
    wanted |= {"gen_ai.output.type": "text", "dify.speech.characters": len(text), "dify.audio.bytes": len(SPOKEN)}
    found += _has(spans, "speech_to_text", wanted)
    return found + _amiss("the text", answer["text"], text) + _under(spans, "speech_to_text", "POST /v1/")


def speech_to_text(stage: Stage) -> list[str]:
    _speakers(stage)
    found = _heard(stage, stage.console.basic("hearing", "chat", **_HEARS))
    app = stage.console.workflow("hearing-flow", "advanced-chat", graphs.chat_graph(), **_HEARS)
    return found + _heard(stage, app)


def _spoken(stage: Stage, app: Application, body: Mapping[str, Any], text: str) -> list[str]:
    trace_id, audio = _raw(stage, "/v1/text-to-audio", {"user": USER, **body}, app.key)
    case = Case("spoken", "post", "ok", ("text_to_speech stub-tts",), top="POST /v1/text-to-audio")
    spans, found = stage.judge(case, Outcome("spoken", status="ok", trace_id=trace_id))
    words = re.findall(r"\w+", text)
    said = "".join(words).encode()
    wanted = _of_the_model("stub-tts", "text_to_speech") | {"gen_ai.output.type": "speech", "dify.tts.voice": _VOICE}
    wanted |= {"dify.tts.input_chars": len(text), "dify.tts.chunks": len(words), "dify.tts.bytes": len(said)}
    found += _has(spans, "text_to_speech", wanted) + _amiss("the sound", audio, said)
    first = _values(spans, "text_to_speech", "gen_ai.response.time_to_first_chunk")
    if not all(isinstance(one, float) and one > 0 for one in first):
        found.append(f"the first sound came after {first}")
    return found + _under(spans, "text_to_speech", "POST /v1/")


def text_to_speech(stage: Stage) -> list[str]:
    """A text and a message's answer; with the voice of the application and one of the model's."""
    _speakers(stage)
    app = stage.console.basic("speaking", "chat", **_SPEAKS)
    found = _spoken(stage, app, {"text": QUERY}, QUERY)
    case = Case("speaking", "block", "ok", ("dify.app", MODEL))
    outcome = stage.call(app, case)
    found += stage.judge(case, outcome)[1]
    found += _spoken(stage, app, {"message_id": outcome.ids["message_id"]}, outcome.answer.strip())
    voiceless: dict[str, Any] = {"text_to_speech": {**_SPEAKS["text_to_speech"], "voice": ""}}
    app = stage.console.workflow("speaking-flow", "advanced-chat", graphs.chat_graph(), **voiceless)
    return found + _spoken(stage, app, {"text": QUERY}, QUERY)


def _speaks_while_it_answers(stage: Stage, app: Application, kinds: tuple[str, ...]) -> list[str]:
    case = Case("at-once", "stream", "ok", (*kinds, MODEL, "text_to_speech stub-tts"))
    outcome = stage.call(app, case)
    spans, found = stage.judge(case, outcome)
    chunks = sum(_values(spans, "text_to_speech", "dify.tts.chunks"))
    # Since 1.13 a chatflow's caller is told nothing that comes behind the run's end: what is spoken then is lost.
    whole = app.mode == "chat" or outcome.events["tts_message_end"]
    if not chunks or (chunks != outcome.events["tts_message"] if whole else chunks < outcome.events["tts_message"]):
        found.append(f"{chunks} sounds in the spans, the caller heard {dict(outcome.events)}")
    found += _has(spans, "text_to_speech", _of_the_model("stub-tts", "text_to_speech"), every=True)
    return found + _below(spans, "text_to_speech", "dify.app")


def chat_that_speaks(stage: Stage) -> list[str]:
    _speakers(stage)
    app = stage.console.basic("at-once", "chat", **_SPEAKS_AT_ONCE)
    return _speaks_while_it_answers(stage, app, ("dify.app",))


def chatflow_that_speaks(stage: Stage) -> list[str]:
    _speakers(stage)
    app = stage.console.workflow("at-once-flow", "advanced-chat", graphs.chat_graph(), **_SPEAKS_AT_ONCE)
    return _speaks_while_it_answers(stage, app, RUN)


# --- moderation


def _forbidding(stage: str, kind: str = "keywords", word: str = WORD, **more: Any) -> dict[str, Any]:
    sides = {
        f"{side}_config": {"enabled": side == stage, "preset_response": PRESET if side == stage else ""}
        for side in ("inputs", "outputs")
    }
    return {"sensitive_word_avoidance": {"enabled": True, "type": kind, "config": {"keywords": word, **sides, **more}}}


def _checked(kind: str, stage: str, flagged: bool) -> dict[str, Any]:
    said = {"dify.moderation.type": kind, "dify.moderation.stage": stage, "dify.moderation.flagged": flagged}
    return said | ({"dify.moderation.action": "direct_output"} if flagged else {})


def _models(spans: Sequence[Span]) -> list[Span]:
    """The models that were asked for an answer: not the one that named the conversation."""
    models = [span for span in spans if span.name.startswith("chat ")]
    return [model for model in models if not any(s.name == "conversation_name" for s in _line(spans, model))]


def _line(spans: Sequence[Span], span: Span) -> list[Span]:
    return judgement.above(span, {one.span_id: one for one in spans})


def _refused(stage: Stage, app: Application, how: str, kind: str = "keywords") -> tuple[list[Span], list[str]]:
    """A question that is not let in."""
    case = Case("forbidden", how, "ok", ("dify.app", f"moderation {kind}"))
    outcome = stage.call(app, case, timeout=UNENDED_SECONDS)
    spans, found = stage.judge(case, outcome)
    found += _amiss("the answer", outcome.answer, PRESET) + _amiss("the models asked", _models(spans), [])
    found += _has(spans, "moderation", _checked(kind, "input", True)) + _below(spans, "moderation", "dify.app")
    found += _has(spans, "dify.app", {"dify.app.outcome": "success", "dify.workflow.status": None})
    if not stage.receiver.await_metric("dify.moderation.checks"):
        found.append("the check was not counted")
    return spans, found


def moderated_question(stage: Stage) -> list[str]:
    app = stage.console.basic("forbidden", "chat", **_forbidding("inputs"))
    found = _refused(stage, app, "stream")[1] + _refused(stage, app, "block")[1]
    app = stage.console.basic("allowed", "chat", **_forbidding("inputs", word=_NO_WORD))
    case = Case("allowed", "stream", "ok", ("dify.app", "moderation keywords", MODEL))
    spans, more = stage.judge(case, stage.call(app, case))
    return found + more + _has(spans, "moderation", _checked("keywords", "input", False))


def moderated_question_of_a_chatflow(stage: Stage) -> list[str]:
    app = stage.console.workflow("forbidden-flow", "advanced-chat", graphs.chat_graph(), **_forbidding("inputs"))
    found = _refused(stage, app, "block")[1]
    with suppress(TimeoutError):
        found += _refused(stage, app, "stream")[1]
    return found


def _replaced(stage: Stage, app: Application, how: str, kinds: tuple[str, ...]) -> list[str]:
    """An answer that is not let out."""
    case = Case("silenced", how, "ok", (*kinds, MODEL, "moderation keywords"))
    outcome = stage.call(app, case)
    spans, found = stage.judge(case, outcome)
    if how == "block":
        found += _amiss("the answer", outcome.answer, PRESET)
    elif not outcome.events["message_replace"]:
        found.append(f"nothing was replaced: {dict(outcome.events)}")
    found += _has(spans, "moderation", _checked("keywords", "output", True))
    return found + _below(spans, "moderation", "dify.app")


def moderated_answer(stage: Stage) -> list[str]:
    app = stage.console.basic("silenced", "chat", **_forbidding("outputs", word=_FIRST))
    return _replaced(stage, app, "stream", ("dify.app",)) + _replaced(stage, app, "block", ("dify.app",))


def moderated_answer_of_a_chatflow(stage: Stage) -> list[str]:
    app = stage.console.workflow(
        "silenced-flow", "advanced-chat", graphs.chat_graph(), **_forbidding("outputs", word=_FIRST)
    )
    return _replaced(stage, app, "stream", RUN) + _replaced(stage, app, "block", RUN)


@dataclass
class Outside:
    """A server that belongs to nobody here: it moderates, and it has a picture."""

    base: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """What it was asked for, each with the `traceparent` it came with."""


@contextmanager
def _outside() -> Iterator[Outside]:
    seen = Outside("")

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            del format, args

        def _give(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.asked.append((asked["point"], self.headers.get("traceparent")))
            answer: dict[str, Any] = {"result": "pong"}
            if asked["point"] != "ping":
                flagged = WORD in json.dumps(asked["params"])
                answer = {"flagged": flagged, "action": "direct_output", "preset_response": PRESET}
            self._give(json.dumps(answer).encode(), "application/json")

        def do_GET(self) -> None:
            seen.asked.append((self.path, self.headers.get("traceparent")))
            self._give(PICTURE.encode(), "image/gif")

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    seen.base = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def moderation_by_an_api(stage: Stage) -> list[str]:
    """Somebody else's server is asked: a span of the trace, of which that server hears nothing."""
    with _outside() as outside:
        described = {
            "name": f"outside {uuid.uuid4()}",
            "api_endpoint": outside.base,
            "api_key": "a-key-of-the-extension",
        }
        extension = stage.console.request("POST", "/api-based-extension", described)["id"]
        settings = _forbidding("inputs", "api", api_based_extension_id=extension)
        app = stage.console.basic("api-forbidden", "chat", **settings)
        spans, found = _refused(stage, app, "stream", "api")
    asked = [parent for point, parent in outside.asked if point == "app.moderation.input"]
    by_id = {span.span_id: span.name for span in spans}
    above = [by_id.get(s.parent_id) for s in spans if s.kind == "CLIENT" and s.name == "POST"]
    # A stranger is told of no trace.
    return found + _amiss("what the extension was told", asked, [None]) + _amiss("above", above, ["moderation api"])


def moderation_by_a_model(stage: Stage) -> list[str]:
    """OpenAI's, which Dify asks for by its provider's name."""
    stage.console.give_key("langgenius/openai/openai")
    found = []
    for query in (QUERY, "This is forbidden."):
        app = stage.console.basic("model-forbidden", "chat", **_forbidding("inputs", "openai_moderation"))
        case = Case("model-forbidden", "stream", "ok", ("dify.app", "moderation openai_moderation"))
        parent, _ = drive.traceparent()
        named = drive.Case(case.app, case.how, case.status, query)
        outcome = drive.call(stage.base, {case.app: asdict(app)}, named, parent=parent, user=USER)
        spans, more = stage.judge(case, outcome)
        flagged = query != QUERY
        found += more + _amiss("whether it was refused", outcome.answer == PRESET, flagged)
        found += _has(spans, "moderation openai_mod", _checked("openai_moderation", "input", flagged))
        [name] = {s.name for s in spans if s.name.startswith("moderation ") and "_" not in s.name} or {"no model"}
        asked = {"gen_ai.request.model": name.partition(" ")[2], "gen_ai.provider.name": "openai"}
        found += _has(spans, name, asked | {"dify.moderation.flagged": flagged})
        found += _under(spans, name, "moderation openai_moderation")
    return found


# --- annotated answers


ANNOTATION = "Berlin is what somebody wrote down about it."


def _annotated(stage: Stage, app: Application, parent: str) -> list[str]:
    if not stage.vectors:
        raise Lacking("no PostgreSQL with pgvector: install postgresql-<version>-pgvector or set DIFY_PGVECTOR_BIN")
    stage.console.request("POST", f"/apps/{app.id}/annotations", {"question": QUERY, "answer": ANNOTATION})
    path = f"/apps/{app.id}/annotation-reply/enable"
    model = {"embedding_provider_name": PROVIDER, "embedding_model_name": "stub-embed", "score_threshold": 0.9}
    job = stage.console.request("POST", path, model)["job_id"]
    until = time.monotonic() + WORKER_SECONDS
    while (state := stage.console.request("GET", f"{path}/status/{job}"))["job_status"] != "completed":
        if state["job_status"] == "error" or time.monotonic() > until:
            raise RuntimeError(f"the annotation is not found: {state}")
        time.sleep(0.5)
    found = []
    for how in ("stream", "block"):
        case = Case("annotated", how, "ok", ("dify.app", "vector_search"))
        try:
            outcome = stage.call(app, case, timeout=UNENDED_SECONDS)
        except TimeoutError:
            continue
        spans, more = stage.judge(case, outcome)
        found += (
            more + _amiss("the answer", outcome.answer, ANNOTATION) + _amiss("the models asked", _models(spans), [])
        )
        found += _has(spans, "vector_search", {"db.system.name": "pgvector", "dify.retrieval.hit_count": 1})
        found += _has(spans, "dify.app", {"dify.app.outcome": "success"})
        found += _has(spans, "dify.app", {"dify.message.status": "normal"}) + _under(spans, "vector_search", parent)
    return found


def annotated_answer(stage: Stage) -> list[str]:
    """A question that a person has answered before is not put to a model."""
    return _annotated(stage, stage.console.basic("annotated", "chat"), "dify.app")


def annotated_answer_of_a_chatflow(stage: Stage) -> list[str]:
    """Nor to a workflow."""
    app = stage.console.workflow("annotated-flow", "advanced-chat", graphs.chat_graph())
    return _annotated(stage, app, "invoke_workflow")


# --- what Dify's own people have written for them


_CONFIGURED = {"provider": PROVIDER, "name": "stub-chat", "mode": "chat", "completion_params": {"temperature": 0.5}}


def _generated(stage: Stage, path: str, body: Mapping[str, Any], kind: str, key: str, calls: int = 1) -> list[str]:
    stage.needs("/console/api" + path)
    trace_id, answer = _posted(stage, path, {"model_config": _CONFIGURED, **body})
    case = Case(kind, "post", "ok", (f"prompt_generation {kind}", MODEL), top=f"POST /console/api{path}")
    spans, found = stage.judge(case, Outcome(kind, status="ok", trace_id=trace_id))
    found += _amiss("the error", answer.get("error") or "", "")
    if not answer.get(key):
        found.append(f"nothing was written: {answer}")
    written = [span for span in spans if span.name.startswith("prompt_generation")]
    found += _amiss("the number of generations", len(written), 1)
    made = sum(span.name == MODEL for span in spans)
    if made != calls:
        found.append(f"{made} model calls, not {calls}")
    [tenant] = [one["id"] for one in stage.console.request("GET", "/workspaces")["workspaces"] if one["current"]]
    wanted = {"dify.prompt_generation.operation_type": kind, "dify.tenant_id": tenant, "gen_ai.span.kind": "CHAIN"}
    return found + _has(spans, "prompt_generation", wanted) + _under(spans, MODEL, "prompt_generation")


def generated_prompt(stage: Stage) -> list[str]:
    body = {"instruction": "Write about the weather."}
    found = _generated(stage, "/rule-generate", {**body, "no_variable": True}, "rule_config", "prompt")
    return found + _generated(stage, "/rule-generate", {**body, "no_variable": False}, "rule_config", "prompt", 3)


def generated_code(stage: Stage) -> list[str]:
    body = {"instruction": "Add two numbers.", "code_language": "python", "no_variable": False}
    return _generated(stage, "/rule-code-generate", body, "code", "code")


def generated_structure(stage: Stage) -> list[str]:
    path = "/rule-structured-output-generate"
    return _generated(stage, path, {"instruction": "A city and its river."}, "structured_output", "output")


def modified_prompt(stage: Stage) -> list[str]:
    """Of an application without a workflow, and of a node."""
    body = {"instruction": "Shorter.", "current": "Answer at length.", "language": "python", "ideal_output": ""}
    plain = stage.console.basic("modified", "chat")
    path, kind = "/instruction-generate", "instruction_modify"
    found = _generated(stage, path, {**body, "flow_id": plain.id, "node_id": ""}, kind, "modified")
    flow = stage.console.workflow("modified-flow", "workflow", graphs.model_graph("stub-chat"))
    found += _generated(stage, path, {**body, "flow_id": flow.id, "node_id": "llm"}, kind, "modified")
    fresh = {**body, "current": "", "flow_id": flow.id, "node_id": "llm"}
    return found + _generated(stage, path, fresh, "rule_config", "prompt")


def suggested_instructions(stage: Stage) -> list[str]:
    path = "/workflow-generate/suggestions"
    return _generated(stage, path, {"mode": "workflow", "count": 2}, "workflow_instruction", "suggestions")


def generated_workflow(stage: Stage) -> list[str]:
    """A plan, then its two nodes, each by a call in a thread of its own."""
    body = {"mode": "workflow", "instruction": "Sort letters."}
    found = _generated(stage, "/workflow-generate", body, "workflow_graph", "graph", 3)
    return found + _generated(stage, "/workflow-generate/stream", body, "workflow_graph", "graph", 3)


# --- nodes


_READS = {
    "enabled": True,
    "number_limits": 3,
    "allowed_file_types": ["document", "image"],
    "allowed_file_extensions": [".txt"],
    "allowed_file_upload_methods": ["local_file", "remote_url"],
}


def _uploaded(stage: Stage, app: Application, name: str, text: str, of: str) -> str:
    body, kind = console.form(name, text, of=of, user=USER)
    return str(stage.send("POST", "/v1/files/upload", body, app.key, kind)[1]["id"])


def _asked(node_id: str, kind: str, title: str, **data: Any) -> graphs.Node:
    model = {**_CONFIGURED, "completion_params": {}}
    return graphs.node(node_id, kind, title, model=model, instruction="", vision={"enabled": False}, **data)


def reading_and_sorting(stage: Stage) -> list[str]:
    """A text file is read, a parameter found in it, a question sorted; what one of two branches said goes on."""
    extractor = graphs.node("doc", "document-extractor", "Read", variable_selector=["sys", "files"], is_array_file=True)
    city = {"name": "city", "type": "string", "description": "a city", "required": True}
    finder = _asked(
        "find", "parameter-extractor", "Find", query=["sys", "query"], parameters=[city], reasoning_mode="function_call"
    )
    sorter = _asked(
        "sort",
        "question-classifier",
        "Sort",
        query_variable_selector=["sys", "query"],
        classes=[{"id": "1", "name": "weather"}, {"id": "2", "name": "other"}],
    )
    one, two = (graphs.llm(name, f"LLM {name}", "{{#find.city#}} {{#sys.query#}}") for name in ("one", "two"))
    joined = graphs.node(
        "join",
        "variable-aggregator",
        "Join",
        output_type="string",
        variables=[["one", "text"], ["two", "text"]],
        advanced_settings={"group_enabled": False, "groups": []},
    )
    last = graphs.answer("{{#join.output#}}")
    graph = graphs.graph(
        [graphs.start(), extractor, finder, sorter, one, two, joined, last],
        *(("start", "doc"), ("doc", "find"), ("find", "sort"), ("sort", "one", "1"), ("sort", "two", "2")),
        *(("one", "join"), ("two", "join"), ("join", "answer")),
    )
    app = stage.console.workflow("reading", "advanced-chat", graph, file_upload=_READS)
    file_id = _uploaded(stage, app, "notes.txt", "Cats sleep in Berlin.", "text/plain")
    file = {"type": "document", "transfer_method": "local_file", "upload_file_id": file_id}
    kinds = ("document-extractor Read", "parameter-extractor Find", "question-classifier Sort", "llm LLM one")
    case = Case("reading", "stream", "ok", (*RUN, *kinds, "variable-aggregator Join", MODEL))
    spans, found = stage.judge(case, stage.call(app, case, files=[file]))
    names = [span.name for span in spans]
    found += _amiss("the number of model calls", len(_models(spans)), 3)
    if any(name.startswith("llm LLM two") for name in names):
        found.append("both branches ran")
    for name, kind in (("document-extractor", "document-extractor"), ("variable-agg", "variable-aggregator")):
        found += _has(spans, name, {"dify.node.type": kind, "dify.node.status": "succeeded"})
    for name in ("parameter-extractor", "question-classifier"):
        # What a node used is what its model's answer says.
        used = next((s.attributes for s in spans if s.name.startswith(name)), {})
        below = [s for s in _models(spans) if any(one.name.startswith(name) for one in _line(spans, s))]
        found += _amiss(f"the number of model calls of {name}", len(below), 1)
        tokens = sum(_values(below, MODEL, "dify.usage.total_tokens"))
        found += _amiss(f"the tokens of {name}", used.get("dify.node.total_tokens"), tokens)
        found += _has(spans, name, {"dify.node.type": name, "dify.node.status": "succeeded"})
    return found


# --- retrieval on its own


def _tested(stage: Stage, dataset: str, top: str, trace_id: str, records: Sequence[Any]) -> list[str]:
    case = Case("tested", "post", "ok", (f"retrieval {dataset}", "vector_search", "embeddings"), top=top)
    spans, found = stage.judge(case, Outcome("tested", status="ok", trace_id=trace_id))
    scores = [record["score"] for record in records]
    documents = [record["segment"]["document_id"] for record in records]
    wanted: dict[str, Any] = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": dataset,
        "dify.dataset.ids": [dataset],
    }
    wanted |= {"dify.retrieval.document_count": len(records), "dify.retrieval.document_ids": documents}
    wanted |= {"dify.retrieval.method": "semantic_search", "gen_ai.request.model": "stub-embed"}
    found += _has(spans, "retrieval", wanted) + _under(spans, "retrieval", top)
    [seen] = _values(spans, "retrieval", "dify.retrieval.scores") or [None]
    if not seen or not all(abs(a - b) < 1e-6 for a, b in zip(seen, scores, strict=True)):
        found.append(f"the scores are {seen}, Dify says {scores}")
    return found + _below(spans, "vector_search", "retrieval") + _below(spans, "embeddings", "retrieval")


def tested_retrieval(stage: Stage) -> list[str]:
    """By a console user, and by the service API with a key of the datasets."""
    if not stage.vectors:
        raise Lacking("no PostgreSQL with pgvector: install postgresql-<version>-pgvector or set DIFY_PGVECTOR_BIN")
    dataset = stage.console.dataset()
    search: dict[str, Any] = {"search_method": "semantic_search", "reranking_enable": False, "top_k": 2}
    search["score_threshold_enabled"] = False
    body = {"query": QUERY, "retrieval_model": search}
    trace_id, answer = _posted(stage, f"/datasets/{dataset}/hit-testing", body)
    found = _tested(stage, dataset, "POST /console/api/datasets/", trace_id, answer["records"])
    key = stage.console.request("POST", "/datasets/api-keys")["token"]
    for query in (QUERY, "Which cats hunt at night?"):
        trace_id, answer = stage.send("POST", f"/v1/datasets/{dataset}/retrieve", {**body, "query": query}, key)
        found += _tested(stage, dataset, "POST /v1/datasets/", trace_id, answer["records"])
    return found


# --- pictures


def _not_sent(stage: Stage, spans: Sequence[Span]) -> list[str]:
    """A picture's bytes are in no span, neither as they are nor as a model gets them."""
    coded = base64.b64encode(PICTURE.encode()).decode()[80:120]
    secret = (PICTURE[60:100], coded)
    return [
        f"{span.name!r} has a picture's bytes in {name!r}"
        for span in spans
        for name, value in span.attributes.items()
        if any(part in str(value) for part in secret)
    ]


def _looked_at(stage: Stage, app: Application, kinds: tuple[str, ...], file: Mapping[str, Any]) -> list[str]:
    case = Case("seen", "stream", "ok", (*kinds, "chat stub-vision"))
    spans, found = stage.judge(case, stage.call(app, case, files=[file]))
    message = {"file_count": 1, "file.type": ["image"], "file.transfer_method": [file["transfer_method"]]}
    if "upload_file_id" in file:
        message["file.id"] = [file["upload_file_id"]]
    found += _has(spans, "dify.app", {"dify.message." + name: value for name, value in message.items()})
    return found + _not_sent(stage, spans)


def _pictures(stage: Stage, app: Application, kinds: tuple[str, ...]) -> list[str]:
    """One that was uploaded, and one by its address."""
    file_id = _uploaded(stage, app, "cat.gif", PICTURE, "image/gif")
    here = {"type": "image", "transfer_method": "local_file", "upload_file_id": file_id}
    found = _looked_at(stage, app, kinds, here)
    with _outside() as outside:
        there = {"type": "image", "transfer_method": "remote_url", "url": f"{outside.base}/cat.gif?sign=not-for-spans"}
        found += _looked_at(stage, app, kinds, there)
    return found


def picture_in_a_chat(stage: Stage) -> list[str]:
    image = {"enabled": True, "detail": "high", "number_limits": 3, "transfer_methods": ["local_file", "remote_url"]}
    upload = {**_READS, "image": image}
    app = stage.console.basic("seen", "chat", "stub-vision", file_upload=upload)
    return _pictures(stage, app, ("dify.app",))


def picture_in_a_chatflow(stage: Stage) -> list[str]:
    llm = graphs.llm("llm", "LLM", "{{#sys.query#}}", "stub-vision")
    llm["data"]["vision"] = {"enabled": True, "configs": {"detail": "high", "variable_selector": ["sys", "files"]}}
    graph = graphs.graph([graphs.start(), llm, graphs.answer("{{#llm.text#}}")], ("start", "llm"), ("llm", "answer"))
    app = stage.console.workflow("seen-flow", "advanced-chat", graph, file_upload=_READS)
    return _pictures(stage, app, (*RUN, "llm LLM"))


KINDS: Mapping[str, Callable[[Stage], list[str]]] = {
    kind.__name__: kind
    for kind in (
        *(speech_to_text, text_to_speech, chat_that_speaks, chatflow_that_speaks),
        *(moderated_question, moderated_question_of_a_chatflow, moderated_answer, moderated_answer_of_a_chatflow),
        *(moderation_by_an_api, moderation_by_a_model, annotated_answer, annotated_answer_of_a_chatflow),
        *(
            generated_prompt,
            generated_code,
            generated_structure,
            modified_prompt,
            suggested_instructions,
            generated_workflow,
        ),
        *(reading_and_sorting, tested_retrieval, picture_in_a_chat, picture_in_a_chatflow),
    )
}
