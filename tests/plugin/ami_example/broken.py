"""Fail as a package does whose own requirement is not there."""

import a_module_that_nobody_has  # noqa: F401
