from core.rag.models.document import Document


class Keyword:
    def __init__(self, dataset):
        self._dataset = dataset

    def search(self, query, **kwargs):
        return [Document("A keyword.", {"doc_id": "node-3", "dataset_id": self._dataset.id, "score": 0.4})]
