from models.account import Account, Tenant
from models.dataset import Dataset, DatasetQuery, Document, DocumentSegment, Pipeline
from models.model import (
    ApiToken,
    App,
    AppMode,
    AppModelConfig,
    Conversation,
    EndUser,
    Message,
    MessageAgentThought,
    MessageFile,
)
from models.provider import Provider, ProviderCredential
from models.trigger import WorkflowPluginTrigger, WorkflowSchedulePlan
from models.workflow import Workflow, WorkflowAppLog, WorkflowNodeExecutionModel, WorkflowPause, WorkflowRun

__all__ = [
    "Account",
    "ApiToken",
    "App",
    "AppMode",
    "AppModelConfig",
    "Conversation",
    "Dataset",
    "DatasetQuery",
    "Document",
    "DocumentSegment",
    "EndUser",
    "Message",
    "MessageAgentThought",
    "MessageFile",
    "Pipeline",
    "Provider",
    "ProviderCredential",
    "Tenant",
    "Workflow",
    "WorkflowAppLog",
    "WorkflowNodeExecutionModel",
    "WorkflowPause",
    "WorkflowPluginTrigger",
    "WorkflowRun",
    "WorkflowSchedulePlan",
]
