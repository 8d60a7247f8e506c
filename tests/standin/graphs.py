"""The graphs of the stand-in's workflow applications, in Dify's format."""

from typing import Any

PROVIDER = "langgenius/stub/stub"
TOOL_PROVIDER = "langgenius/stubtool/stubtool"
Graph = dict[str, Any]
Node = dict[str, Any]


def node(node_id: str, kind: str, title: str, **data: Any) -> Node:
    return {"id": node_id, "type": "custom", "data": {"type": kind, "title": title, "desc": "", **data}}


def graph(nodes: list[Node], *edges: tuple[str, str] | tuple[str, str, str]) -> Graph:
    kinds = {item["id"]: item["data"]["type"] for item in nodes}
    return {
        "nodes": nodes,
        "edges": [
            {
                "id": f"{edge[0]}-{edge[1]}",
                "source": edge[0],
                "target": edge[1],
                "sourceHandle": edge[2] if len(edge) > 2 else "source",
                "targetHandle": "target",
                "type": "custom",
                "data": {"sourceType": kinds[edge[0]], "targetType": kinds[edge[1]]},
            }
            for edge in edges
        ],
    }


def start(*names: str) -> Node:
    variables = [
        {"variable": name, "label": name, "type": "paragraph", "required": True, "max_length": 48000} for name in names
    ]
    return node("start", "start", "Start", variables=variables)


def llm(node_id: str, title: str, prompt: str, model: str = "stub-chat", **data: Any) -> Node:
    return node(
        node_id,
        "llm",
        title,
        model={"provider": PROVIDER, "name": model, "mode": "chat", "completion_params": {"temperature": 0.5}},
        prompt_template=[
            {"role": "system", "text": "You are a helpful assistant."},
            {"role": "user", "text": prompt},
        ],
        context={"enabled": False, "variable_selector": []},
        vision={"enabled": False},
        **data,
    )


def code(node_id: str, title: str, source: str, selector: list[str], **outputs: str) -> Node:
    return node(
        node_id,
        "code",
        title,
        code_language="python3",
        code=source,
        variables=[{"variable": "query", "value_selector": selector}],
        outputs={name: {"type": kind, "children": None} for name, kind in outputs.items()},
    )


def tool(node_id: str, city: str, name: str = "weather", **data: Any) -> Node:
    return node(
        node_id,
        "tool",
        "Weather",
        provider_id=TOOL_PROVIDER,
        provider_type="builtin",
        provider_name=TOOL_PROVIDER,
        tool_name=name,
        tool_label=name,
        tool_configurations={},
        tool_node_version="2",
        tool_parameters={"city": {"type": "mixed", "value": city}},
        **data,
    )


def retrieval(node_id: str, selector: list[str], *dataset_ids: str) -> Node:
    return node(
        node_id,
        "knowledge-retrieval",
        "Knowledge",
        query_variable_selector=selector,
        dataset_ids=list(dataset_ids),
        retrieval_mode="multiple",
        multiple_retrieval_config={
            "top_k": 3,
            "score_threshold": None,
            "reranking_enable": True,
            "reranking_mode": "reranking_model",
            "reranking_model": {"provider": PROVIDER, "model": "stub-rerank"},
        },
    )


def end(node_id: str = "end", **selectors: list[str]) -> Node:
    outputs = [{"variable": name, "value_selector": selector} for name, selector in selectors.items()]
    return node(node_id, "end", "End", outputs=outputs)


def answer(text: str) -> Node:
    return node("answer", "answer", "Answer", answer=text, variables=[])


def main_graph(dataset_id: str) -> Graph:
    source = "def main(query: str) -> dict:\n    return {'clean': query.strip(), 'n': len(query), 'city': 'Berlin'}\n"
    return graph(
        [
            start("query"),
            code("code", "Code", source, ["start", "query"], clean="string", n="number", city="string"),
            llm("llm", "LLM", "{{#code.clean#}}"),
            retrieval("kr", ["start", "query"], dataset_id),
            tool("tool", "{{#code.city#}}"),
            node(
                "ifelse",
                "if-else",
                "If",
                cases=[
                    {
                        "id": "true",
                        "case_id": "true",
                        "logical_operator": "and",
                        "conditions": [
                            {
                                "id": "c1",
                                "varType": "number",
                                "variable_selector": ["code", "n"],
                                "comparison_operator": ">",
                                "value": "0",
                            }
                        ],
                    }
                ],
            ),
            node(
                "tpl",
                "template-transform",
                "Template",
                template="{{ a }} / {{ t }}",
                variables=[
                    {"variable": "a", "value_selector": ["llm", "text"]},
                    {"variable": "t", "value_selector": ["tool", "text"]},
                ],
            ),
            end(out=["tpl", "output"], docs=["kr", "result"]),
            end("end2", out=["code", "clean"]),
        ],
        ("start", "code"),
        ("code", "llm"),
        ("llm", "kr"),
        ("kr", "tool"),
        ("tool", "ifelse"),
        ("ifelse", "tpl", "true"),
        ("ifelse", "end2", "false"),
        ("tpl", "end"),
    )


def iteration_graph(*, parallel: bool) -> Graph:
    source = "def main(query: str) -> dict:\n    return {'items': query.split()[:3]}\n"
    split = code("code", "Split", source, ["start", "query"], items="array[string]")
    body = llm("illm", "Inner LLM", "{{#iter.item#}}", isInIteration=True, iteration_id="iter")
    begin = node("iterstart", "iteration-start", "", isInIteration=True, iteration_id="iter")
    for inner in (begin, body):
        inner["parentId"] = "iter"
    iteration = node(
        "iter",
        "iteration",
        "Iteration",
        iterator_selector=["code", "items"],
        iterator_input_type="array[string]",
        output_selector=["illm", "text"],
        output_type="array[string]",
        start_node_id="iterstart",
        is_parallel=parallel,
        parallel_nums=3,
        error_handle_mode="terminated",
        flatten_output=True,
    )
    return graph(
        [start("query"), split, iteration, begin, body, end(out=["iter", "output"])],
        ("start", "code"),
        ("code", "iter"),
        ("iterstart", "illm"),
        ("iter", "end"),
    )


def demo_graph(dataset_id: str) -> Graph:
    """A bit of everything, for the demo: code, model, knowledge, tool, branch, parallel iteration, template."""
    nodes = {item["id"]: item for item in main_graph(dataset_id)["nodes"]}
    source = (
        "def main(query: str) -> dict:\n    return {'city': 'Berlin', 'n': len(query), 'sights': query.split()[-3:]}\n"
    )
    plan = code("code", "Plan", source, ["start", "query"], city="string", n="number", sights="array[string]")
    visit = next(item for item in iteration_graph(parallel=True)["nodes"] if item["id"] == "iter")
    visit["data"].update(title="Visit each sight", iterator_selector=["code", "sights"])
    begin = node("iterstart", "iteration-start", "", isInIteration=True, iteration_id="iter")
    body = llm("illm", "Describe", "{{#iter.item#}}", isInIteration=True, iteration_id="iter")
    for inner in (begin, body):
        inner["parentId"] = "iter"
    guide = llm("llm", "Write the guide", "{{#start.query#}}")
    for item, title in (("kr", "Look up"), ("tool", "Weather"), ("ifelse", "Any sights?"), ("tpl", "Put together")):
        nodes[item]["data"]["title"] = title
    return graph(
        [
            *(
                nodes["start"],
                plan,
                nodes["kr"],
                nodes["tool"],
                nodes["ifelse"],
                visit,
                begin,
                body,
                guide,
                nodes["tpl"],
            ),
            end(out=["tpl", "output"]),
            end("end2", out=["code", "city"]),
        ],
        ("start", "code"),
        ("code", "kr"),
        ("code", "tool"),
        ("kr", "ifelse"),
        ("tool", "ifelse"),
        ("ifelse", "iter", "true"),
        ("ifelse", "end2", "false"),
        ("iterstart", "illm"),
        ("iter", "llm"),
        ("llm", "tpl"),
        ("tpl", "end"),
    )


def loop_graph() -> Graph:
    inner: dict[str, Any] = {"isInLoop": True, "loop_id": "loop"}
    body = llm("lllm", "Loop LLM", "{{#start.query#}}", **inner)
    begin = node("loopstart", "loop-start", "", **inner)
    for item in (begin, body):
        item["parentId"] = "loop"
    loop = node(
        "loop",
        "loop",
        "Loop",
        start_node_id="loopstart",
        loop_count=2,
        break_conditions=[],
        logical_operator="and",
        loop_variables=[{"label": "said", "var_type": "string", "value_type": "constant", "value": ""}],
        outputs={},
    )
    return graph(
        [start("query"), loop, begin, body, end(out=["loop", "said"])],
        ("start", "loop"),
        ("loopstart", "lllm"),
        ("loop", "end"),
    )


def parallel_graph() -> Graph:
    nodes = [
        start("query"),
        llm("a", "LLM a", "a {{#start.query#}}"),
        llm("b", "LLM b", "b {{#start.query#}}"),
        tool("c", "{{#start.query#}}"),
        end(a=["a", "text"], b=["b", "text"], c=["c", "text"]),
    ]
    return graph(nodes, *[("start", name) for name in "abc"], *[(name, "end") for name in "abc"])


def model_graph(model: str, **data: Any) -> Graph:
    nodes = [start("query"), llm("llm", "LLM", "{{#start.query#}}", model=model, **data), end(out=["llm", "text"])]
    return graph(nodes, ("start", "llm"), ("llm", "end"))


def branch_fail_graph() -> Graph:
    failing = llm("llm", "LLM that fails", "{{#start.query#}}", model="fail-model", error_strategy="fail-branch")
    return graph(
        [
            start("query"),
            failing,
            tool("tool", "Berlin"),
            end(out=["llm", "text"]),
            end("end2", out=["tool", "text"], error=["llm", "error_message"]),
        ],
        ("start", "llm"),
        ("llm", "end", "success-branch"),
        ("llm", "tool", "fail-branch"),
        ("tool", "end2"),
    )


def retry_graph() -> Graph:
    return model_graph("fail-model", retry_config={"retry_enabled": True, "max_retries": 2, "retry_interval": 50})


def tool_graph(name: str) -> Graph:
    return graph(
        [start("query"), tool("tool", "Berlin", name), end(out=["tool", "text"])], ("start", "tool"), ("tool", "end")
    )


def workflow_tool_graph(app_id: str) -> Graph:
    nested = node(
        "tool",
        "tool",
        "Nested workflow",
        provider_id=app_id,
        provider_type="workflow",
        provider_name="nested",
        tool_name="nested",
        tool_label="nested",
        tool_configurations={},
        tool_node_version="2",
        tool_parameters={"query": {"type": "mixed", "value": "{{#start.query#}}"}},
    )
    return graph([start("query"), nested, end(out=["tool", "text"])], ("start", "tool"), ("tool", "end"))


def http_graph(url: str) -> Graph:
    http = node(
        "http",
        "http-request",
        "HTTP",
        method="get",
        url=url,
        authorization={"type": "no-auth", "config": None},
        headers="",
        params="",
        body={"type": "none", "data": []},
        timeout={"connect": 5, "read": 10, "write": 10},
        retry_config={"retry_enabled": False, "max_retries": 0, "retry_interval": 0},
    )
    return graph([start("query"), http, end(out=["http", "body"])], ("start", "http"), ("http", "end"))


def classifier_graph() -> Graph:
    classifier = node(
        "qc",
        "question-classifier",
        "Classifier",
        query_variable_selector=["start", "query"],
        model={"provider": PROVIDER, "name": "stub-chat", "mode": "chat", "completion_params": {}},
        classes=[{"id": "1", "name": "weather"}, {"id": "2", "name": "other"}],
        instruction="",
        vision={"enabled": False},
    )
    return graph(
        [start("query"), classifier, end(out=["qc", "class_name"]), end("end2", out=["qc", "class_name"])],
        ("start", "qc"),
        ("qc", "end", "1"),
        ("qc", "end2", "2"),
    )


def human_graph() -> Graph:
    human = node("human", "human-input", "Approve")
    return graph(
        [start("query"), human, llm("llm", "LLM", "{{#start.query#}}"), end(out=["llm", "text"])],
        ("start", "human"),
        ("human", "llm", "approve"),
        ("llm", "end"),
    )


def chat_graph() -> Graph:
    return graph(
        [start(), llm("llm", "LLM", "{{#sys.query#}}"), answer("{{#llm.text#}}")], ("start", "llm"), ("llm", "answer")
    )


def chat_fail_graph() -> Graph:
    return graph(
        [start(), llm("llm", "LLM", "{{#sys.query#}}", model="fail-model"), answer("{{#llm.text#}}")],
        ("start", "llm"),
        ("llm", "answer"),
    )


def agent_graph() -> Graph:
    agent = node(
        "agent",
        "agent",
        "Agent",
        agent_strategy_provider_name="langgenius/stubagent/stubagent",
        agent_strategy_name="function_calling",
        agent_strategy_label="FunctionCalling",
        agent_parameters={
            "query": {"type": "constant", "value": "{{#sys.query#}}"},
            "tools": {
                "type": "constant",
                "value": [{"provider_name": TOOL_PROVIDER, "tool_name": "weather", "type": "builtin"}],
            },
        },
    )
    return graph([start(), agent, answer("{{#agent.text#}}")], ("start", "agent"), ("agent", "answer"))
