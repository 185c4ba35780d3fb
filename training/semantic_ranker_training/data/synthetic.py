"""A small made-up data set, for trying things out where there are no data. No figure on it means anything."""

from __future__ import annotations

import random

from semantic_ranker_training.data.records import Group

SOURCE = "synthetic"
_THINGS = (
    "Amber Bridge", "Birch Harbour", "Cedar Library", "Delta Archive", "Elm Station", "Falcon Tower", "Granite Mill",
    "Heron Lighthouse", "Iris Museum", "Jasper Quarry", "Kestrel Dam", "Linden Market", "Maple Theatre", "North Canal",
    "Opal Observatory", "Pine Hospital", "Quartz Tunnel", "River Foundry", "Silver Terminal", "Tulip Garden",
)  # fmt: skip
_FACTS = {
    "opening year": ("When did {thing} open?", "Visitors first entered {thing} in {value}, after years of work."),
    "architect": ("Who designed {thing}?", "The plans of {thing} were drawn by {value}, whose office stood nearby."),
    "height": ("How tall is {thing}?", "Measured from the ground to the roof, {thing} reaches {value} metres."),
    "cost": ("What did {thing} cost to build?", "The town paid {value} thousand crowns for {thing}, mostly borrowed."),
    "staff": ("How many people work at {thing}?", "On a usual day {value} employees keep {thing} running."),
    "repair": ("What was repaired at {thing}?", "The last work on {thing} replaced its {value} in a winter."),
}  # fmt: skip
_NAMES = ("Ada Holm", "Bo Lind", "Cleo Marsh", "Dag Norr", "Eva Stone", "Finn Vale", "Gro Wald", "Hal Yates")
_PARTS = ("roof", "main gate", "heating", "staircase", "eastern wall", "lifts", "windows", "water pipes")


def synthetic_groups(count: int | None = None, seed: int = 13) -> list[Group]:
    """Return made-up questions, each with the sentence that answers it; the same seed gives the same ones.

    Args:
        count: How many, at most 120; None gives all.
        seed: Of order and values.
    """
    chooser = random.Random(seed)
    groups = []
    for thing in _THINGS:
        for fact, (question, sentence) in _FACTS.items():
            value = {"architect": chooser.choice(_NAMES), "repair": chooser.choice(_PARTS)}.get(fact)
            text = sentence.format(thing=f"the {thing}", value=value or chooser.randint(12, 1990))
            groups.append(
                Group(question.format(thing=f"the {thing}"), (text[0].upper() + text[1:],), (1.0,), source=SOURCE)
            )
    chooser.shuffle(groups)
    return groups[:count]
