"""Dashboards and alerts: every query parses, and asks for metrics and labels that are exported under those names.

Separate from test_collector, which shows that the collector turns the OpenTelemetry names into these.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DASHBOARDS = Path(__file__).parents[2] / "deploy" / "dashboards"
FILES = sorted(DASHBOARDS.glob("dify*.json"))
METRICS: list[dict[str, str]] = json.loads((DASHBOARDS / "metrics.json").read_text())["metrics"]
# Labels that do not come from an attribute of a point.
RESERVED = {"le", "job", "reason", "outcome", "currency", "finish_reason", "exporter", "service_name", "span_name"}
RESERVED |= {"span_kind", "status_code"}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [p for p in dashboard["panels"] if p["type"] != "row"]


def queries() -> list[tuple[str, str]]:
    found = []
    for file in FILES:
        dashboard = json.loads(file.read_text())
        found += [(f"{file.stem}: {p['title']}", t["expr"]) for p in panels(dashboard) for t in p["targets"]]
    for group in yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())["groups"]:
        found += [(f"alert {rule['alert']}", rule["expr"]) for rule in group["rules"]]
    return found


def parsed(expression: str) -> Any:
    parser = pytest.importorskip("promql_parser", reason="the PyPI package promql-parser is not installed")
    # Grafana fills these in before Prometheus sees the query.
    return parser.parse(expression.replace("$__rate_interval", "5m").replace("$mode", "x").replace("$node_type", "x"))


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """(metric, labels matched) of every selector in the parsed query."""
    found: list[tuple[str, set[str]]] = []

    def walk(node: Any) -> None:
        if hasattr(node, "matchers"):
            found.append((node.name, {m.name for m in node.matchers.matchers}))
        for child in ("vector_selector", "expr", "lhs", "rhs"):
            if (inner := getattr(node, child, None)) is not None:
                walk(inner)
        for argument in getattr(node, "args", ()):
            walk(argument)

    walk(parsed(expression))
    return found


@pytest.mark.parametrize("where, expression", queries(), ids=lambda v: v if ":" in v or "alert" in v else "")
def test_queries_parse_and_ask_for_what_is_exported(where: str, expression: str) -> None:
    known = {}
    for metric in METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric["kind"] == "histogram" else ("",)
        known.update({metric["prometheus"] + s: metric for s in suffixes})
    found = selectors(expression)
    assert found, f"no selector in {where}"
    assert {name for name, _ in found} <= set(known)
    if "histogram_quantile" in expression:
        assert all(re.search(r"by\s*\([^)]*\ble\b", expression) for name, _ in found if name.endswith("_bucket"))


def test_every_listed_metric_is_used() -> None:
    text = " ".join(expression for _, expression in queries())
    unused = [m["prometheus"] for m in METRICS if m["prometheus"] not in text]
    assert unused == []


def test_the_agents_metrics_are_those_the_agent_has() -> None:
    exported = {m.name: m for m in pytest.importorskip("dify_otel_instrumentors.core.metrics").METRICS}
    for metric in METRICS:
        if metric["source"] == "agent":
            assert metric["name"] in exported, f"{metric['name']} is not exported"
            assert metric["kind"] == exported[metric["name"]].kind
            assert metric["unit"] == exported[metric["name"]].unit


def test_labels_are_attributes_the_agent_records() -> None:
    """A label in a query is an attribute name with dots for underscores, found in the source that records points."""
    root = Path(__file__).parents[2]
    source = "".join(p.read_text() for p in (root / "instrumentors").rglob("*.py"))
    source += "".join(p.read_text() for p in (root / "bootstrap").rglob("*.py"))
    source += (root / "deploy" / "collector" / "processing.yaml").read_text()
    names = {re.sub(r"[^a-z0-9]", "_", n) for n in re.findall(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+", source)}
    for where, expression in queries():
        grouped = {g.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for g in by.split(",")}
        labels = grouped | {label for _, matched in selectors(expression) for label in matched}
        assert labels - RESERVED <= names, where


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_dashboards_are_importable(file: Path) -> None:
    dashboard = json.loads(file.read_text())
    ids = [p["id"] for p in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    assert "datasource" in variables
    for panel in panels(dashboard):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= variables
    taken = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in dashboard["panels"]]
    assert len(taken) == len(set(taken)), "no panel over another"


def test_alerts_say_what_to_do() -> None:
    rules = [r for g in yaml.safe_load((DASHBOARDS / "alerts.yaml").read_text())["groups"] for r in g["rules"]]
    assert len({r["alert"] for r in rules}) == len(rules) >= 10
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+m", rule["for"])
