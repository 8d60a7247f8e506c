"""Pure promises, in one process: relay, content, settings, guard, names, metrics, a call's life, extraction."""
