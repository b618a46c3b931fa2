"""A store and a codec for coatcheck that somebody else made."""
