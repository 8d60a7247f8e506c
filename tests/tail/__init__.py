"""`dify-otel tail`: receiver, tree, terminal, page (in a real browser), command."""
