class ExternalDatasetService:
    @staticmethod
    def fetch_external_knowledge_retrieval(
        tenant_id, dataset_id, query, external_retrieval_parameters, metadata_condition=None
    ):
        return [{"content": f"External about {query}", "score": 0.9, "title": "external", "metadata": {}}]
