"""What goes wrong around us and inside Dify: answers, exceptions and streams stay as they are without us."""
