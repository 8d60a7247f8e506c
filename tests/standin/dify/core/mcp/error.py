class MCPError(Exception):
    pass


class MCPConnectionError(MCPError):
    pass
