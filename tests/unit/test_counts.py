"""Ratings and indexed segments are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dify_otel_instrumentors import feedback, indexing
from dify_otel_instrumentors.core.wrapper import instrument, tap


class MessageService:
    """The parameters of Dify's, 1.6.0 to 1.16.1."""

    @classmethod
    def create_feedback(
        cls, *, app_model: Any, message_id: str, user: Any, rating: Any, content: Any, session: Any = None
    ) -> Any:
        if not user:
            raise ValueError("user cannot be None")
        return "feedback"


class IndexingRunner:
    """Dify's: a document's failure is written down, the run goes on."""

    def __init__(self, failing: int | None = None) -> None:
        self.failing = failing

    def run(self, dataset_documents: list[Any]) -> None:
        for i, document in enumerate(dataset_documents):
            try:
                dataset = SimpleNamespace(id="dataset-id", tenant_id="tenant-id")
                self._load(None, dataset, document, ["segment"] * (i + 1), i)
            except RuntimeError:
                continue

    def _load(self, session: Any, dataset: Any, dataset_document: Any, documents: list[Any], total: int) -> None:
        if total == self.failing:
            raise RuntimeError


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    raw = vars(MessageService)["create_feedback"].__func__
    monkeypatch.setattr(MessageService, "create_feedback", classmethod(tap(raw, feedback.GIVEN)))
    app = SimpleNamespace(id="app-id", mode="chat")

    def give(rating: Any, user: Any = "user") -> Any:
        return MessageService.create_feedback(
            app_model=app, message_id="message-id", user=user, rating=rating, content="canary"
        )

    return give


def test_ratings_are_counted_by_kind_and_app_mode(recorded: Any, given: Any) -> None:
    assert given("like") == "feedback"
    given("like")
    given(SimpleNamespace(value="dislike"))
    given(None)
    told = {(p.attributes["dify.feedback.rating"], p.attributes["dify.app.mode"]): p.value for p in points(recorded)}
    assert told == {("like", "chat"): 2, ("dislike", "chat"): 1, ("removed", "chat"): 1}


def points(recorded: Any) -> list[Any]:
    return list(recorded.points("dify.feedback"))


def test_a_rating_that_was_refused_is_none(recorded: Any, given: Any) -> None:
    with pytest.raises(ValueError, match="user"):
        given("like", user=None)
    assert points(recorded) == []


@pytest.mark.parametrize(("failing", "completed", "error"), [(None, 6, 0), (1, 4, 2)])
def test_segments_are_counted_by_what_became_of_them(
    recorded: Any, monkeypatch: pytest.MonkeyPatch, failing: int | None, completed: int, error: int
) -> None:
    monkeypatch.setattr(IndexingRunner, "_load", tap(IndexingRunner._load, indexing.LOAD))
    monkeypatch.setattr(IndexingRunner, "run", instrument(IndexingRunner.run, indexing.RUN))
    IndexingRunner(failing).run([SimpleNamespace(id=str(i), dataset_id="d", tenant_id="t") for i in range(3)])
    found = {p.attributes["dify.indexing.status"]: p.value for p in recorded.points("dify.indexing.segments")}
    assert found == {k: v for k, v in (("completed", completed), ("error", error)) if v}
    assert recorded.span("dataset_indexing run").attributes["dify.indexing.segment_count"] == completed


def test_a_run_over_rows_that_are_not_loaded_learns_its_dataset_later(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IndexingRunner, "_load", tap(IndexingRunner._load, indexing.LOAD))
    monkeypatch.setattr(IndexingRunner, "run", instrument(IndexingRunner.run, indexing.RUN))
    IndexingRunner().run([SimpleNamespace(_sa_instance_state=SimpleNamespace(identity=("document-id",)))])
    told = recorded.span("dataset_indexing run").attributes
    assert told["dify.document.ids"] == ("document-id",)
    assert (told["dify.dataset.id"], told["dify.tenant_id"]) == ("dataset-id", "tenant-id")
