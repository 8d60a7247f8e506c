from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from core.rag.data_post_processor.data_post_processor import DataPostProcessor
from core.rag.datasource.keyword.keyword_factory import Keyword
from core.rag.datasource.vdb.vector_factory import Vector


class RetrievalService:
    @classmethod
    def retrieve(
        cls,
        retrieval_method,
        dataset_id,
        query,
        top_k,
        score_threshold=0.0,
        reranking_model=None,
        reranking_mode="reranking_model",
        weights=None,
        document_ids_filter=None,
    ):
        found, exceptions = [], []
        with ThreadPoolExecutor(max_workers=2) as executor:
            futures = []
            if retrieval_method == "keyword_search":
                futures.append(executor.submit(cls.keyword_search, None, dataset_id, query, top_k, found, exceptions))
            else:
                for search in (cls.embedding_search, cls.full_text_index_search):
                    futures.append(
                        executor.submit(
                            search,
                            flask_app=None,
                            dataset_id=dataset_id,
                            query=query,
                            top_k=top_k,
                            score_threshold=score_threshold,
                            reranking_model=reranking_model,
                            all_documents=found,
                            retrieval_method=retrieval_method,
                            exceptions=exceptions,
                        )
                    )
            for future in futures:
                future.result()
        if exceptions:
            raise ValueError(";\n".join(exceptions))
        if retrieval_method == "hybrid_search":
            processor = DataPostProcessor("tenant-1", reranking_mode, reranking_model, weights, False)
            found = processor.invoke(query=query, documents=found, score_threshold=score_threshold, top_n=top_k)
        return found

    @classmethod
    def keyword_search(cls, flask_app, dataset_id, query, top_k, all_documents, exceptions, document_ids_filter=None):
        all_documents.extend(Keyword(SimpleNamespace(id=dataset_id)).search(query, top_k=top_k))

    @classmethod
    def embedding_search(
        cls,
        flask_app,
        dataset_id,
        query,
        top_k,
        score_threshold,
        reranking_model,
        all_documents,
        retrieval_method,
        exceptions,
        document_ids_filter=None,
    ):
        try:
            if query == "explode":
                raise ValueError("the vector store is away")
            vector = Vector(SimpleNamespace(id=dataset_id))
            all_documents.extend(vector.search_by_vector(query, top_k=top_k, score_threshold=score_threshold))
        except Exception as exc:
            exceptions.append(str(exc))

    @classmethod
    def full_text_index_search(
        cls,
        flask_app,
        dataset_id,
        query,
        top_k,
        score_threshold,
        reranking_model,
        all_documents,
        retrieval_method,
        exceptions,
        document_ids_filter=None,
    ):
        vector = Vector(SimpleNamespace(id=dataset_id))
        all_documents.extend(vector.search_by_full_text(query, top_k=top_k))
