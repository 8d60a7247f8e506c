"""A small application of Dify's shape, run in real processes: what instrumentation is tested on without Dify."""
