"""The checker of histories catches each kind of lie, and no truth."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ami.lab.histories import ACCEPTED, REFUSED, UNKNOWN, Edit, Look, check, count_lost


def edit(name: str, began: float, ended: float, version: int = 0, **more: object) -> Edit:
    told = {"client": "anna", "text": "1", "answer": ACCEPTED if version else UNKNOWN}
    return Edit(name=name, began=began, ended=ended, version=version, **{**told, **more})  # type: ignore[arg-type]


def look(began: float, version: int, **definitions: str) -> Look:
    return Look(began=began, ended=began + 0.5, version=version, definitions=definitions)


ADDED = edit("a", 0, 1, 1)
GONE = edit("a", 4, 5, 2, text=None)


@pytest.mark.parametrize(
    ("edits", "looks"),
    [
        ([], [look(0, 0)]),
        ([ADDED], [look(0.5, 0), look(0.6, 1, a="1"), look(2, 1, a="1")]),
        ([ADDED, GONE], [look(2, 1, a="1"), look(4.2, 1, a="1"), look(6, 2)]),
        # Nobody knows when, and whether at all, who got no answer was heard.
        ([ADDED, edit("a", 4, 5, text=None)], [look(6, 1, a="1"), look(7, 2)]),
        ([edit("a", 0, 1)], [look(2, 0), look(9, 1, a="1")]),
        ([edit("a", 0, 1, answer=REFUSED), edit("a", 2, 3, 1, client="ben", text="2")], [look(4, 1, a="2")]),
        # Who saw what nobody was told of may see it no more.
        ([], [look(0, 2, a="1"), look(2, 1)]),
        # One version may have what was under way at once.
        ([edit("a", 0, 2, 1), edit("b", 1, 3, 1)], [look(4, 1, a="1", b="1")]),
    ],
)
def test_what_can_have_been_is_no_fault(edits: list[Edit], looks: list[Look]) -> None:
    assert check(edits, looks) == []
    assert not looks or count_lost(edits, looks[-1]) == 0


@pytest.mark.parametrize(
    ("edits", "looks", "fault"),
    [
        ([ADDED], [look(2, 1)], "acknowledged, and not there"),
        ([ADDED], [look(2, 1, a="1"), look(3, 2)], "acknowledged, and not there"),
        ([ADDED], [look(2, 1, a="2")], "acknowledged, and not there"),
        ([ADDED, GONE], [look(3, 1)], "acknowledged, and not there"),
        ([ADDED, GONE], [look(6, 2, a="1")], "acknowledged, and not there"),
        ([ADDED, edit("a", 4, 5, answer=REFUSED, text=None)], [look(6, 1)], "acknowledged, and not there"),
        ([edit("a", 0, 1, answer=REFUSED)], [look(0.5, 1, a="1")], "refused, and done"),
        ([edit("a", 0, 1, answer=REFUSED)], [look(9, 3, a="1")], "refused, and done"),
        ([ADDED, edit("b", 2, 3, 1)], [], "version 1 comes after version 1"),
        ([edit("a", 0, 1, 2), edit("b", 2, 3, 1)], [], "version 1 comes after version 2"),
        ([edit("a", 0, 1, 2)], [look(2, 1, a="1")], "version 1 comes after version 2"),
        ([], [look(0, 2), look(2, 2, a="1")], "version 2 is another graph"),
    ],
)
def test_what_cannot_have_been_is_found(edits: list[Edit], looks: list[Look], fault: str) -> None:
    (found,) = check(edits, looks)
    assert fault in found


@pytest.mark.parametrize("seed", range(20))
def test_in_a_true_history_one_lie_is_found(seed: int) -> None:
    """Of a graph that carries out each edit at one moment between question and answer."""
    chance = random.Random(seed)
    edits, looks, there, version = list[Edit](), list[Look](), dict[str, str](), 0
    now = 0.0
    for number in range(60):
        began, now = now, now + 1
        if there and chance.random() < 0.3:
            name, text = chance.choice(sorted(there)), None
        else:
            name, text = f"n{number}", f"t{number}"
        told = {"client": "anna", "name": name, "text": text, "began": began, "ended": now}
        draw = chance.random()
        if draw < 0.7:
            version += 1
            edits.append(Edit(**told, answer=ACCEPTED, version=version))  # type: ignore[arg-type]
        else:
            edits.append(Edit(**told, answer=chance.choice([REFUSED, UNKNOWN])))  # type: ignore[arg-type]
        if draw < 0.7 or (edits[-1].answer == UNKNOWN and chance.random() < 0.5):
            version += edits[-1].answer == UNKNOWN
            there = {one: words for one, words in there.items() if one != name}
            there |= {} if text is None else {name: text}
        looks.append(Look(began=now + 0.2, ended=now + 0.3, version=version, definitions=dict(there)))
        now += 0.5
    assert check(edits, looks) == []
    doubtful = {one.name for one in edits if one.answer == UNKNOWN}
    stays = [
        one for one in edits if one.answer == ACCEPTED and one.name in there and one.name not in doubtful
    ]
    lie = replace(
        looks[-1], version=version + 1, definitions={k: v for k, v in there.items() if k != stays[0].name}
    )
    assert len(check(edits, [*looks[:-1], lie])) == 1
    assert (count_lost(edits, looks[-1]), count_lost(edits, lie)) == (0, 1)
    refused = next(one for one in edits if one.answer == REFUSED and one.text is not None)
    lie = replace(looks[-1], version=version + 1, definitions={**there, refused.name: str(refused.text)})
    assert len(check(edits, [*looks[:-1], lie])) == 1
