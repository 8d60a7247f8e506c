import threading
from types import SimpleNamespace

from core.rag.datasource.retrieval_service import RetrievalService


class DatasetRetrieval:
    def __init__(self, application_generate_entity=None):
        self.application_generate_entity = application_generate_entity

    def retrieve(
        self,
        app_id,
        user_id,
        tenant_id,
        model_config,
        config,
        query,
        invoke_from,
        show_retrieve_source,
        hit_callback,
        message_id,
        memory=None,
        inputs=None,
    ):
        found = self.multiple_retrieve(
            app_id,
            tenant_id,
            user_id,
            "end_user",
            [SimpleNamespace(id=dataset_id) for dataset_id in config.dataset_ids],
            query,
            3,
            0.0,
            "reranking_model",
        )
        return "\n".join(document.page_content for document in found)

    def single_retrieve(
        self,
        app_id,
        tenant_id,
        user_id,
        user_from,
        available_datasets,
        query,
        model_instance,
        model_config,
        planning_strategy,
        message_id=None,
        metadata_filter_document_ids=None,
        metadata_condition=None,
    ):
        return RetrievalService.retrieve(
            retrieval_method="semantic_search", dataset_id=available_datasets[0].id, query=query, top_k=2
        )

    def multiple_retrieve(
        self,
        app_id,
        tenant_id,
        user_id,
        user_from,
        available_datasets,
        query,
        top_k,
        score_threshold,
        reranking_mode,
        reranking_model=None,
        weights=None,
        reranking_enable=True,
        message_id=None,
        metadata_filter_document_ids=None,
        metadata_condition=None,
    ):
        found, threads = [], []
        for dataset in available_datasets:
            thread = threading.Thread(target=self._retriever, args=(None, dataset.id, query, top_k, found))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        return found

    def _retriever(self, flask_app, dataset_id, query, top_k, all_documents):
        all_documents.extend(
            RetrievalService.retrieve(retrieval_method="hybrid_search", dataset_id=dataset_id, query=query, top_k=top_k)
        )
