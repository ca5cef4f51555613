"""Every error that ami raises on purpose.

    AmiError
    ├── ConfigError           a setting is missing, unknown or out of range (exit code 2)
    ├── SourceError           the input cannot be read as asked; the node stays up
    ├── ExportError           results cannot be handed on now; the node stays up
    ├── GraphError            a graph or a request for one cannot be accepted; the old graph stays
    ├── RingError             the event ring cannot be used as asked
    │   ├── RingBusy          a living process already has this place in the ring
    │   ├── RingFull          there is not enough shared memory: wait until somebody frees some
    │   ├── RingGone          there is no such ring now, or it was replaced: attach again
    │   └── RingUnfit         what has its name is no ring that this ami can use: wait until it is removed
    └── StoreError            a store could not do what was asked
        ├── StoreUnavailable  not reachable now: wait and try again
        │   └── NotLetIn      it does not accept the password; a ConfigError, too
        ├── StoreFull         no room left for this value: wait until somebody makes some
        ├── Conflict          somebody else was faster (compare-and-set), or now holds the lease
        └── Undecodable       bytes are cut, of another version, or name a foreign type

Catch the narrowest one that you can act on. A bug in ami is never an AmiError.
"""


class AmiError(Exception):
    """Anything that ami refuses on purpose."""


class ConfigError(AmiError):
    """A setting is missing, unknown or out of range."""


class SourceError(AmiError):
    """The input cannot be read as asked."""


class ExportError(AmiError):
    """Results cannot be handed on as asked now."""


class GraphError(AmiError):
    """A graph, or a request for one, cannot be accepted."""


class RingError(AmiError):
    """The event ring cannot be used as asked."""


class RingBusy(RingError):
    """A living process already has this place in the ring."""


class RingFull(RingError):
    """There is not enough shared memory for it now."""


class RingGone(RingError):
    """There is no such ring now, or it was replaced."""


class RingUnfit(RingError):
    """A segment of this name is there, and it is no ring, or none of this version, or damaged."""


class StoreError(AmiError):
    """A store could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached now."""


class NotLetIn(StoreUnavailable, ConfigError):
    """The store does not accept who asks: another store than ours, or a password that somebody has to mend.

    A person is told at once; a process waits, because others than its own settings may be wrong.
    """


class StoreFull(StoreError):
    """The store has no memory left for this value."""


class Conflict(StoreError):
    """The expectation of a conditional write did not hold; nothing was written."""


class Undecodable(StoreError):
    """Bytes that are not a value of ours."""


# What the code of others (functions of users, packages) may raise. Its sys.exit() is a fault like any other:
# a process that obeyed would end as if it had been asked to, and nobody would start it again.
FAULTS = (Exception, SystemExit)
