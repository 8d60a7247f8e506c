"""The demo: one request of a Dify-shaped application on Dify's real workflow engine, shown as the one trace it is."""
