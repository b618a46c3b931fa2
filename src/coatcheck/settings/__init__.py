"""Settings, from `coatcheck.toml` and the environment."""
