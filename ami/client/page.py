"""Say where the page is: its address, and the link with which one may edit."""

from __future__ import annotations

from ami.client.status import ClusterStatus
from ami.config import Config
from ami.errors import AmiError

RUNS = "running: "
ANY = ("0.0.0.0", "::")


def find_page(config: Config, status: ClusterStatus) -> str:
    """Return the link to this host's page, with its token where this account may read that.

    Raises:
        AmiError: it is not served here, or not yet.
    """
    host = config.node.host
    if not config.web.host:
        raise AmiError("no page is served here: web.host in ami.toml is empty")
    states = [one.state for one in status.processes if one.type == "web" and one.host == host and one.alive]
    if not states:
        raise AmiError("the page is not served (yet); `ami status` says what runs")
    if not states[0].startswith(RUNS):
        raise AmiError(f"the page is not served: it is {states[0]}")
    address = states[0].removeprefix(RUNS)
    for every in ANY:
        address = address.replace(f"//{every}:", f"//{host}:")
    try:
        return f"{address}/#token={config.web.token_file.read_text(encoding='utf-8').strip()}"
    except OSError:
        return address  # of another account: it may look
