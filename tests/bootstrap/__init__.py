"""How a process becomes instrumented, in real processes with real interpreters."""
