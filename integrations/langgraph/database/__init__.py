"""The databases of LangGraph's own savers, row by row: for sweeps, and to encode in place what was written before."""
