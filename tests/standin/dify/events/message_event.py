from blinker import signal

message_was_created = signal("message-was-created")
