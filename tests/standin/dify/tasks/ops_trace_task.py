from typing import Any

from celery import shared_task


@shared_task(queue="ops_trace", bind=True)
def process_trace_tasks(self: Any, file_info: dict[str, Any]) -> None:
    del file_info
