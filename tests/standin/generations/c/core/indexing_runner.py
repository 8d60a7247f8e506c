from concurrent.futures import ThreadPoolExecutor

from core.model_manager import ModelInstance, bundle
from core.rag.embedding.cached_embedding import CacheEmbedding


class IndexingRunner:
    def run(self, dataset_documents):
        with ThreadPoolExecutor(max_workers=2) as executor:
            for future in [executor.submit(self._process_chunk, item) for item in dataset_documents]:
                future.result()

    def run_in_splitting_status(self, dataset_document):
        self.run([dataset_document])

    def run_in_indexing_status(self, dataset_document):
        self.run([dataset_document])

    def _process_chunk(self, document):
        CacheEmbedding(ModelInstance(bundle(), "stub-embed")).embed_documents([str(document)])
