"""The order of a listing that a service promises, looked at as it comes: who relies on it would skip objects without a sign."""

from coatcheck.errors import ConfigError


class ListingOrder:
    """Follows the keys of one listing: those of a folder come in the order of their characters, each once."""

    def __init__(self) -> None:
        self._folder = ""
        self._last = ""

    def check(self, key: str) -> str:
        """Return the next key.

        Raises:
            ConfigError: It does not come after the one before it.
        """
        folder = key.rpartition("/")[0]
        if folder == self._folder and key <= self._last:
            raise ConfigError(
                "the service does not list the objects of a folder in the order of their keys",
                "Use a service that does, as Amazon's S3 (general purpose buckets) and Google Cloud Storage do.",
                key,
            )
        self._folder, self._last = folder, key
        return key
