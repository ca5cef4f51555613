"""What leaves: results and the state of the cluster, to programs that are not ours.

An export is one file with one class (:mod:`ami.exports.base`) and one line in the entry-point group
``ami.exports``: here in ``setup.cfg``, or in that of an installed package.
"""

from __future__ import annotations

from ami.exports.base import Export, SeesCluster
from ami.exports.opening import open_export

__all__ = ["Export", "SeesCluster", "open_export"]
