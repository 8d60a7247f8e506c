import threading


class TraceTask:
    def __init__(
        self,
        trace_type,
        message_id=None,
        workflow_execution=None,
        conversation_id=None,
        user_id=None,
        timer=None,
        **kwargs,
    ):
        self.trace_type = trace_type
        self.kwargs = kwargs


class TraceQueueManager:
    def __init__(self, app_id=None, user_id=None):
        self.app_id = app_id
        self.user_id = user_id
        self.tasks: list[TraceTask] = []

    def add_trace_task(self, trace_task):
        self.tasks.append(trace_task)
        self.start_timer()

    def run(self):
        self.tasks.clear()

    def start_timer(self):
        timer = threading.Timer(0.01, self.run)
        timer.daemon = True
        timer.start()
