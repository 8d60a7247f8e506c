"""What people think of answers: a count of their ratings, whichever API they came through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import shapes
from .core import metrics
from .core.operation import Tap


def _given(arguments: Mapping[str, Any], result: Any, enclosing: Any) -> None:
    """`MessageService.create_feedback`; no rating takes an earlier one back."""
    labels = {
        "dify.feedback.rating": shapes.word(arguments.get("rating")) or "removed",
        "dify.app.mode": shapes.word(shapes.column(arguments.get("app_model"), "mode")),
    }
    metrics.record("dify.feedback", 1, labels)


GIVEN = Tap(after=_given)
