"""The environment of whoever runs the tests, as it was before `conftest` made one of the tests' own.

For pip and npm alone, which may need a proxy to reach a registry, and for what of theirs is kept in the user's cache.
"""

import json
import os

# Processes that run tests for pytest-xdist begin with the tests' own environment, and this variable in it.
GIVEN = json.loads(os.environ.get("GIVEN_TO_THE_TESTS", "null")) or dict(os.environ)
os.environ["GIVEN_TO_THE_TESTS"] = json.dumps(GIVEN)
# How pip says that there is no way to a registry.
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ReadTimeoutError", "ProxyError",
               "ProtocolError", "SSLError", "IncompleteRead", "HTTP error 5", "HTTP error 429")  # fmt: skip
