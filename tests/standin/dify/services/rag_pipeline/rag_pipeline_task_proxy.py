"""Hands the runs of a knowledge pipeline to the worker. Dify keeps them in a file; the stand-in keeps them in Redis."""

import json
from collections.abc import Sequence
from uuid import uuid4

from core.app.entities.rag_pipeline_invoke_entities import RagPipelineInvokeEntity
from extensions.ext_redis import redis_client


class RagPipelineTaskProxy:
    def __init__(
        self, dataset_tenant_id: str, user_id: str, rag_pipeline_invoke_entities: Sequence[RagPipelineInvokeEntity]
    ) -> None:
        self._dataset_tenant_id = dataset_tenant_id
        self._user_id = user_id
        self._rag_pipeline_invoke_entities = rag_pipeline_invoke_entities

    def delay(self) -> None:
        from tasks.rag_pipeline.rag_pipeline_run_task import rag_pipeline_run_task

        file_id = str(uuid4())
        entities = [entity.model_dump(mode="json") for entity in self._rag_pipeline_invoke_entities]
        redis_client.set(f"rag-pipeline:{file_id}", json.dumps(entities), ex=600)
        rag_pipeline_run_task.delay(rag_pipeline_invoke_entities_file_id=file_id, tenant_id=self._dataset_tenant_id)
