"""Knowledge held by somebody else, asked over HTTP."""

from typing import Any

from sqlalchemy.orm import Session

from configs import dify_config
from core.helper import ssrf_proxy
from models.dataset import Dataset


class ExternalDatasetService:
    @staticmethod
    def fetch_external_knowledge_retrieval(
        tenant_id: str,
        dataset_id: str,
        query: str,
        external_retrieval_parameters: dict[str, Any],
        metadata_condition: Any | None = None,
        *,
        session: Session,
    ) -> list[dict[str, Any]]:
        session.get(Dataset, dataset_id)
        response = ssrf_proxy.post(
            f"{dify_config.PLUGIN_DAEMON_URL}/external/retrieval",
            json={
                "knowledge_id": dataset_id,
                "query": query,
                "retrieval_setting": {
                    "top_k": external_retrieval_parameters.get("top_k", 3),
                    "score_threshold": external_retrieval_parameters.get("score_threshold", 0.0),
                },
            },
            headers={"Authorization": "Bearer an-external-secret", "Content-Type": "application/json"},
        )
        return response.json().get("records", []) if response.status_code == 200 else []
