from celery import shared_task
from sqlalchemy import select

from core.db.session_factory import session_factory
from core.indexing_runner import IndexingRunner
from models.dataset import Document


@shared_task(queue="dataset")
def document_indexing_task(dataset_id: str, document_ids: list[str]) -> None:
    with session_factory.create_session() as session:
        documents = list(session.scalars(select(Document).where(Document.id.in_(document_ids))))
        IndexingRunner().run(documents, session)
