from collections.abc import Mapping
from typing import Any

from graphon.nodes.code.entities import CodeLanguage
from graphon.template_rendering import Jinja2TemplateRenderer, TemplateRenderError

from core.helper.code_executor.code_executor import CodeExecutionError, CodeExecutor


class CodeExecutorJinja2TemplateRenderer(Jinja2TemplateRenderer):
    def render_template(self, template: str, variables: Mapping[str, Any]) -> str:
        try:
            return str(CodeExecutor.execute_workflow_code_template(CodeLanguage.JINJA2, template, variables)["result"])
        except CodeExecutionError as exc:
            raise TemplateRenderError(str(exc)) from exc
