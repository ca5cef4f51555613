"""Read results and edit the graph: what a notebook imports, and what the command line is made of.

    with ami.client.connect() as client:
        client.add("bright = mean_vs(sum(camera), key=delay)")
        for result in client.watch(["bright"]):
            print(result.value.means, result.events.used, result.age_s())

Every call ends: with an answer, or with an AmiError after the client's time-out.
"""

from ami.client.client import Client, connect
from ami.client.inspect import KeyView
from ami.client.status import ClusterStatus, Identity, ProcessStatus, RingStatus

__all__ = ["Client", "ClusterStatus", "Identity", "KeyView", "ProcessStatus", "RingStatus", "connect"]
