"""A real browser without a window: Debian's packages ``chromium`` and ``chromium-driver``."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.engines.requirement import unavailable

PACKAGES = ("chromium", "chromium-driver")

_ARGUMENTS = ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1500,1100")


def find_programs() -> tuple[str, str] | None:
    """The browser and what drives it; None where one of them is not there."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def browsing(downloads: Path, *arguments: str) -> Iterator[Chrome]:
    """Run a browser until the block ends; skip or fail if it cannot be had.

    Args:
        downloads: The folder that downloads go to.
        *arguments: Of its command line, beside those that every test needs.
    """
    programs = find_programs()
    if programs is None:
        unavailable(
            "Chromium", "no `chromium` or no `chromedriver` here; install Debian's packages of these names"
        )
    options = ChromeOptions()
    options.binary_location = programs[0]
    # Chromium's sandbox refuses to run as root, as tests in containers do.
    for argument in (*_ARGUMENTS, *arguments, *(["--no-sandbox"] if os.geteuid() == 0 else [])):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    try:
        browser = Chrome(options, ChromeService(programs[1]))
    except WebDriverException as error:
        unavailable("Chromium", str(error.msg))
    try:
        yield browser
    finally:
        browser.quit()
