"""``coatcheck sweep``: free what no run can reach any more."""
