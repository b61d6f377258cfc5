"""What scenarios are played on: servers, agents, proxies, and the judge of what happened."""

PATIENCE = 30.0
"""How many seconds to wait for what must come."""
