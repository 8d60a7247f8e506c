from core.app.apps.workflow.app_runner import WorkflowAppRunner


class PipelineRunner(WorkflowAppRunner):
    """Dify's has a `run` of its own; the graph is run in the same way."""

    def run(self) -> None:
        # Not `super().run()`: a knowledge pipeline's run is one run, not a workflow's inside it.
        run = WorkflowAppRunner.run
        while hasattr(run, "__wrapped__"):
            run = run.__wrapped__
        run(self)
