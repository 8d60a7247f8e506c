"""Content moderation of an app's inputs and outputs, where the app has it configured. Flagged is a result, no error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from . import shapes
from .core.operation import Content, Measure, Operation


def _kind(factory: Any) -> str | None:
    # The extension sits under a mangled private name of ModerationFactory; its class carries the configured name.
    extension = getattr(factory, "_ModerationFactory__extension_instance", None)
    return shapes.word(getattr(extension, "name", None))


def _operation(stage: str) -> Operation:
    def before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
        yield "dify.moderation.type", _kind(arguments.get("self"))
        yield "dify.moderation.stage", stage
        text = arguments.get("text")
        yield (
            "dify.moderation.query",
            Content(text if text is not None else {"inputs": arguments.get("inputs"), "query": arguments.get("query")}),
        )

    def opened(call: Any, arguments: Mapping[str, Any]) -> None:
        call.state["kind"] = _kind(arguments.get("self"))

    def after(call: Any, result: Any) -> Iterator[Any]:
        flagged = getattr(result, "flagged", None)
        action = shapes.word(getattr(result, "action", None))
        yield "dify.moderation.flagged", flagged if isinstance(flagged, bool) else None
        if flagged:
            yield "dify.moderation.action", action
            yield "dify.moderation.preset_response", Content(getattr(result, "preset_response", None))
        labels = {
            "dify.moderation.type": call.state.get("kind"),
            "dify.moderation.stage": stage,
            "dify.moderation.flagged": flagged if isinstance(flagged, bool) else None,
            "dify.moderation.action": action if flagged else None,
            "error.type": call.failed,
        }
        yield Measure("dify.moderation.checks", 1, labels)

    return Operation(
        concept="moderation",
        name=lambda facts: f"moderation {facts.get('dify.moderation.type') or stage}",
        before=before,
        after=after,
        opened=opened,
        span_kind="GUARDRAIL",
    )


INPUTS = _operation("input")
OUTPUTS = _operation("output")


def _hosted_applies(arguments: Mapping[str, Any], enclosing: Any) -> bool:
    """Chat and completion apps always ask; only where the hosted provider is configured does anything happen."""
    hosting = getattr(sys.modules.get("core.helper.moderation"), "hosting_configuration", None)
    return getattr(getattr(hosting, "moderation_config", None), "enabled", False) is True


def _hosted_before(arguments: Mapping[str, Any], enclosing: Any) -> Iterator[Any]:
    yield "dify.moderation.type", "hosted"
    yield "dify.moderation.stage", "input"
    yield "dify.moderation.query", Content(arguments.get("text"))


def _hosted_after(call: Any, result: Any) -> Iterator[Any]:
    yield "dify.moderation.flagged", result if isinstance(result, bool) else None


HOSTED = Operation(
    concept="moderation",
    name=lambda facts: "moderation hosted",
    before=_hosted_before,
    after=_hosted_after,
    applies=_hosted_applies,
    span_kind="GUARDRAIL",
)
