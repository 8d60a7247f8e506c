class GraphRuntimeState:
    def __init__(self):
        self.variable_pool = None
        self.total_tokens = 0
        self.node_run_steps = 0
        self.llm_usage = None
        self.outputs = {}
