"""LangGraph: the checkpoints of graphs go through the chain before a saver writes them to its database.

``ClaimCheckSaver(saver, chain)`` in place of ``saver`` is all there is to it (``docs/langgraph.md``). Needs the extra
``coatcheck[langgraph]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("langgraph"):
    from coatcheck.integrations.langgraph.saver import ClaimCheckSaver
    from coatcheck.integrations.langgraph.threads import LangGraphThreads

__all__ = ["ClaimCheckSaver", "LangGraphThreads"]
