"""Two nodes of one machine that have the same name for their rings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ami.cluster import whose
from ami.config import Config, load
from ami.errors import RingBusy
from tests import ring_rig


@pytest.fixture
def ring_name() -> Iterator[str]:
    with ring_rig.ring_name() as name:
        yield name


def node(folder: str, ring: str) -> Config:
    return load(environ={"AMI_NODE_RUN_DIR": folder, "AMI_RING_NAME": ring})


@pytest.mark.parametrize("identity", ["sim://x", "a\nb", "x\nof the node with y", ""])
def test_a_ring_is_ours_by_its_signature_whatever_its_input_is_called(identity: str) -> None:
    mine, other = node("/tmp/a", "/ami-x"), node("/tmp/b", "/ami-x")
    assert whose.is_ours(mine, whose.sign(mine, identity))
    assert not whose.is_ours(mine, whose.sign(other, identity))


def test_the_ring_of_another_node_is_refused_by_name_until_it_is_dead(ring_name: str) -> None:
    mine, other = node("/tmp/a", ring_name), node("/tmp/b", ring_name)
    whose.refuse_foreign(mine)  # there is none
    with ring_rig.create(ring_name, source_id=whose.sign(other, "sim://x")):
        whose.refuse_foreign(other)
        for unless_dead in (False, True):
            with pytest.raises(RingBusy, match=f"{ring_name} is that of another .*/tmp/b/local.sock"):
                whose.refuse_foreign(mine, unless_dead=unless_dead)
    assert Path(f"/dev/shm{ring_name}").exists()
    with pytest.raises(RingBusy):
        whose.refuse_foreign(mine)
    whose.refuse_foreign(mine, unless_dead=True)
    with ring_rig.create(ring_name, source_id=whose.sign(mine, "sim://x")):
        whose.refuse_foreign(mine)
