"""Runs code in the sandbox: a template wraps the user's function, JSON goes in and out."""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

import httpx
from graphon.nodes.code.entities import CodeLanguage
from pydantic import BaseModel

from configs import dify_config

_client = httpx.Client(limits=httpx.Limits(max_connections=100, max_keepalive_connections=20), trust_env=False)
_RESULT = re.compile(r"<<RESULT>>(.*)<<RESULT>>", re.DOTALL)
_PYTHON = """
{code}
import base64, json
_inputs = json.loads(base64.b64decode("{inputs}").decode())
print("<<RESULT>>" + json.dumps(main(**_inputs)) + "<<RESULT>>")
"""
_JINJA2 = """
def main(**inputs):
    import base64, jinja2
    return jinja2.Template(base64.b64decode("{template}").decode()).render(**inputs)
"""


class CodeExecutionError(Exception):
    pass


class CodeExecutionResponse(BaseModel):
    class Data(BaseModel):
        stdout: str | None = None
        error: str | None = None

    code: int
    message: str
    data: Data


class CodeExecutor:
    code_language_to_running_language = {
        CodeLanguage.JAVASCRIPT: "nodejs",
        CodeLanguage.JINJA2: CodeLanguage.PYTHON3,
        CodeLanguage.PYTHON3: CodeLanguage.PYTHON3,
    }

    @classmethod
    def execute_code(cls, language: CodeLanguage, preload: str, code: str) -> str:
        try:
            response = _client.post(
                f"{dify_config.CODE_EXECUTION_ENDPOINT}/v1/sandbox/run",
                json={
                    "language": cls.code_language_to_running_language[language],
                    "code": code,
                    "preload": preload,
                    "enable_network": True,
                },
                headers={"X-Api-Key": dify_config.CODE_EXECUTION_API_KEY},
                timeout=30,
            )
        except httpx.RequestError as exc:
            raise CodeExecutionError("Failed to execute code, which is likely a network issue.") from exc
        if response.status_code != 200:
            raise CodeExecutionError(f"Failed to execute code, got status code {response.status_code}.")
        answer = CodeExecutionResponse.model_validate(response.json())
        if answer.code != 0:
            raise CodeExecutionError(f"Got error code: {answer.code}. Got error msg: {answer.message}")
        if answer.data.error:
            raise CodeExecutionError(answer.data.error)
        return answer.data.stdout or ""

    @classmethod
    def execute_workflow_code_template(
        cls, language: CodeLanguage, code: str, inputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        if language == CodeLanguage.JINJA2:
            code = _JINJA2.format(template=base64.b64encode(code.encode()).decode())
        encoded = base64.b64encode(json.dumps(dict(inputs), default=str).encode()).decode()
        output = cls.execute_code(language, "", _PYTHON.format(code=code, inputs=encoded))
        found = _RESULT.search(output)
        if found is None:
            raise CodeExecutionError("Failed to parse result")
        result = json.loads(found.group(1))
        return {"result": result} if language == CodeLanguage.JINJA2 else result
