"""``coatcheck sweep``: delete what no run can reach any more."""
