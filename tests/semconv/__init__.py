"""OpenTelemetry's GenAI conventions: message schemas, the compatibility switch, the completion hook, other dialects."""
