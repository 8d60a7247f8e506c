"""The Celery application; a task runs within the Flask application context."""

from typing import Any

from celery import Celery, Task

from configs import dify_config
from dify_app import DifyApp


def init_app(app: DifyApp) -> Celery:
    class FlaskTask(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(
        app.name,
        task_cls=FlaskTask,
        broker=dify_config.CELERY_BROKER_URL,
        backend=None,
    )
    celery_app.conf.update(
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        task_ignore_result=True,
        imports=[
            "tasks.app_generate.workflow_execute_task",
            "tasks.ops_trace_task",
            "tasks.document_indexing_task",
            "tasks.async_workflow_tasks",
            "tasks.rag_pipeline.rag_pipeline_run_task",
            "tasks.trigger_processing_tasks",
            "tasks.workflow_schedule_tasks",
        ],
    )
    celery_app.set_default()
    app.extensions["celery"] = celery_app
    return celery_app
