"""Forty English pairs of 3 to some 300 tokens for the parity gate, where the caller gives none of his own."""

from __future__ import annotations

# Each query with a short and a long passage of its own. Neighbours share a subject, so that a query meets near misses.
_TOPICS: tuple[tuple[str, str, str], ...] = (
    (
        "how do I reset my password",
        "To change a forgotten password, open Settings.",
        "Passwords expire after ninety days. You can set a new one at any time from the sign-in page: choose 'Forgot "
        "password', type the address that you registered with, and follow the link in the message that arrives. The "
        "link works for one hour and once only. A new password needs twelve characters, of which at least one is a "
        "digit, and may not repeat any of your last five. After five wrong attempts the account is locked for fifteen "
        "minutes; the service desk can unlock it at once after checking who you are.",
    ),
    (
        "what is two-factor authentication",
        "Two-factor authentication asks for a second proof besides the password.",
        "With two-factor authentication, signing in takes something you know and something you have. After the "
        "password you confirm on your phone, or type the six digits that an authenticator application shows and that "
        "change every thirty seconds. Somebody who has stolen the password alone cannot sign in. Recovery codes are "
        "printed once, when the second factor is registered: keep them on paper, away from the computer.",
    ),
    (
        "which river flows through Paris",
        "The Seine crosses Paris from east to west.",
        "Paris, capital of France, lies on a bend of the Seine about 375 kilometres upstream of its mouth in the "
        "English Channel. The two oldest parts of the city are islands in the river, the Ile de la Cite and the Ile "
        "Saint-Louis, joined to both banks by some of its thirty-seven bridges. The left bank, to the south, holds the "
        "Latin Quarter and the university; the right bank holds the Louvre and most of the large squares and shops. "
        "The river floods in wet winters: in 1910 it rose more than eight metres above its usual level and filled "
        "streets and the underground for weeks. Reservoirs built upstream since then soften the peaks, but the quays "
        "are still closed in many years. Barges carry sand, gravel and grain through the city, and in summer a part of "
        "the quays is given over to walkers. Bathing in the river, forbidden for a century, was allowed again at a few "
        "guarded places after large works on the sewers, which had been overflowing into it after every storm.",
    ),
    (
        "population of London in 1900",
        "London had about six and a half million inhabitants in 1900.",
        "During the nineteenth century London grew from one million people to more than six, and was the largest city "
        "of the world from about 1825 until New York passed it a hundred years later. Railways let clerks live in "
        "suburbs ten miles away. The census of 1901 counted 4.5 million in the county and 6.6 million in what is now "
        "called Greater London.",
    ),
    (
        "symptoms of vitamin D deficiency in adults",
        "Adults short of vitamin D may have bone pain and weak muscles.",
        "Vitamin D keeps the level of calcium in the blood steady. Adults who lack it often notice nothing; others "
        "complain of tiredness, aching bones, above all in the back and hips, and of weak thighs that make stairs "
        "hard. In the long run bones lose their minerals and break more easily. A blood test of 25-hydroxyvitamin D "
        "settles the question. Those most at risk are people who see little sun, have dark skin and live in the "
        "north, are older than sixty-five, or cannot take up fat. Treatment is by tablets for two to three months, "
        "then a smaller dose for maintenance.",
    ),
    (
        "does vitamin C prevent colds",
        "Taking vitamin C daily does not make colds rarer in most people.",
        "A review of twenty-nine trials with 11 306 participants found that regular vitamin C did not lower the "
        "number of colds in the general population, though they were shorter by about eight per cent in adults. In "
        "five trials with runners and soldiers under heavy strain, it halved the risk. Starting after the first "
        "sneeze had no consistent effect.",
    ),
    (
        "python read a csv file into a list of dictionaries",
        "with open(path, newline='') as file: rows = list(csv.DictReader(file))",
        "The csv module of the standard library reads and writes tables of text. csv.reader yields each row as a list "
        "of strings; csv.DictReader takes the first row as field names and yields a dictionary per row. Open the file "
        "with newline='' so that line breaks inside quoted fields survive, and name the encoding. For numbers, "
        "convert the columns yourself, or use a library with typed columns.",
    ),
    (
        "sort a list of dictionaries by a key",
        "sorted(rows, key=lambda row: row['name'])",
        "Lists have a sort method that orders them in place; the built-in sorted returns a new list and takes any "
        "iterable. Both accept key, a function called once for each item, and reverse. operator.itemgetter('name') is "
        "a quick key for dictionaries. The sort is stable: items with equal keys keep their order, so several sorts "
        "in a row, least important key first, give an order by several keys.",
    ),
)


def built_in_pairs() -> list[tuple[str, str]]:
    """Return 40 ``(query, text)`` pairs: each of 8 queries with its two passages and three of its neighbours'."""
    count = len(_TOPICS)
    pairs: list[tuple[str, str]] = []
    for index, (query, short, long) in enumerate(_TOPICS):
        neighbour, further, distant = (_TOPICS[at % count] for at in (index ^ 1, index + 2, index + 5))
        texts = (short, long, neighbour[1], further[2], distant[1] if index % 2 else distant[2])
        pairs.extend((query, text) for text in texts)
    return pairs


def built_in_texts() -> list[str]:
    """Return 24 texts: the queries, and the short and the long passage of each."""
    return [text for topic in _TOPICS for text in topic]


def canary_pairs() -> list[tuple[str, str]]:
    """Return the four pairs whose logits a manifest records: a match and a mismatch of two queries."""
    first, second = _TOPICS[0], _TOPICS[2]
    return [(first[0], first[1]), (first[0], second[1]), (second[0], second[2]), (second[0], first[2])]
