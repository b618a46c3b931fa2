from tests.engines.restate import restate_server

__all__ = ["restate_server"]
