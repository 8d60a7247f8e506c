"""Stand-ins for the services beside Dify: the plugin daemon and the code sandbox. Standard library only."""
