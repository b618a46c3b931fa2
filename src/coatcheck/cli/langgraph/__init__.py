"""``coatcheck langgraph``: the databases of LangGraph's savers."""
