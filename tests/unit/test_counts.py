"""Ratings and indexed segments are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from dify_otel_instrumentors import feedback, indexing
from dify_otel_instrumentors.core.wrapper import instrument, tap
from opentelemetry.trace import StatusCode


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
            except RuntimeError as error:
                self._handle_indexing_error(document.id, error)

    def _handle_indexing_error(self, document_id: str, error: Exception) -> None:
        pass

    def _load(self, session: Any, dataset: Any, dataset_document: Any, documents: list[Any], total: int) -> None:
        if total == self.failing:
            raise RuntimeError("CANARY")


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


@pytest.mark.parametrize(("told", "error_type"), [(True, "RuntimeError"), (False, "indexing_failed")])
def test_a_document_that_failed_makes_the_run_an_error(
    recorded: Any, monkeypatch: pytest.MonkeyPatch, told: bool, error_type: str
) -> None:
    """Dify keeps it for itself; before 1.9.2 it has no place of its own for that either."""
    monkeypatch.setattr(IndexingRunner, "_load", tap(IndexingRunner._load, indexing.LOAD))
    monkeypatch.setattr(IndexingRunner, "run", instrument(IndexingRunner.run, indexing.RUN))
    if told:
        failed = tap(IndexingRunner._handle_indexing_error, indexing.FAILED)
        monkeypatch.setattr(IndexingRunner, "_handle_indexing_error", failed)
    IndexingRunner(1).run([SimpleNamespace(id=str(i), dataset_id="d", tenant_id="t") for i in range(2)])
    span = recorded.span("dataset_indexing run")
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, error_type)
    assert "CANARY" not in str(span.status.description) and span.attributes["dify.indexing.status"] == "error"
    (duration,) = recorded.points("dify.indexing.duration")
    assert duration.attributes["error.type"] == error_type


class DocumentIsPausedError(Exception):
    """Dify's: a document that a person has paused."""


def test_a_paused_document_is_no_error(recorded: Any) -> None:
    def run(self: Any, dataset_documents: Any) -> None:
        tap(load, indexing.LOAD)(self, None, None, ["segment"])

    def load(self: Any, session: Any, dataset: Any, documents: Any) -> None:
        raise DocumentIsPausedError

    with pytest.raises(DocumentIsPausedError):
        instrument(run, indexing.RUN)(None, [SimpleNamespace(id="1", dataset_id="d", tenant_id="t")])
    span = recorded.span("dataset_indexing run")
    assert span.status.status_code is not StatusCode.ERROR and "error.type" not in span.attributes
    assert not span.events and span.attributes["dify.indexing.status"] == "paused"
    (segments,) = recorded.points("dify.indexing.segments")
    assert segments.attributes["dify.indexing.status"] == "paused"
    (duration,) = recorded.points("dify.indexing.duration")
    assert "error.type" not in duration.attributes


@pytest.mark.parametrize("chunks", [["a", "b"], {"parent_child_chunks": ["a", "b"], "parent_mode": "paragraph"}])
def test_a_pipelines_document_is_indexed_in_a_span_of_its_own(recorded: Any, chunks: Any) -> None:
    def index(self: Any, dataset: Any, document: Any, chunks: Any) -> None: ...

    dataset = SimpleNamespace(id="dataset-id", tenant_id="tenant-id")
    instrument(index, indexing.PIPELINE)(None, dataset, SimpleNamespace(id="document-id"), chunks)
    told = recorded.span("dataset_indexing pipeline").attributes
    assert (told["dify.dataset.id"], told["dify.document.ids"]) == ("dataset-id", ("document-id",))
    assert (told["dify.indexing.segment_count"], told["dify.indexing.status"]) == (2, "completed")
    (segments,) = recorded.points("dify.indexing.segments")
    assert segments.value == 2 and segments.attributes["dify.indexing.stage"] == "pipeline"


def test_a_run_over_rows_that_are_not_loaded_learns_its_dataset_later(
    recorded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IndexingRunner, "_load", tap(IndexingRunner._load, indexing.LOAD))
    monkeypatch.setattr(IndexingRunner, "run", instrument(IndexingRunner.run, indexing.RUN))
    IndexingRunner().run([SimpleNamespace(_sa_instance_state=SimpleNamespace(identity=("document-id",)))])
    told = recorded.span("dataset_indexing run").attributes
    assert told["dify.document.ids"] == ("document-id",)
    assert (told["dify.dataset.id"], told["dify.tenant_id"]) == ("dataset-id", "tenant-id")
