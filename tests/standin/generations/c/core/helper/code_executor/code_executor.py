class CodeExecutor:
    @classmethod
    def execute_code(cls, language, preload, code):
        if "explode" in code:
            raise ValueError("the sandbox is away")
        return "1"
