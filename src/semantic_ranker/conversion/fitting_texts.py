"""Texts that int8 is fitted to: of many kinds, lengths and languages, and none of those that the gate looks at."""

from __future__ import annotations

_LONGEST_QUERY = 70  # characters
_TEXTS = (
    "cheap flights to lisbon in october",
    "why does my sourdough not rise",
    "difference between a mutex and a semaphore",
    "Who wrote the first dictionary of the English language?",
    "how long to keep tax records uk",
    "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    "best time to prune roses",
    "is remote work allowed from abroad",
    "interest rate cut inflation third quarter",
    "knee pain after running downhill treatment",
    "Employees may carry over up to ten days of unused leave into the next calendar year. Leave that is not taken by "
    "31 March lapses, unless illness or urgent work prevented it; in that case the manager notes the reason in the "
    "system and the days stay available until the end of June.",
    "The defendant argued that the contract was void because no consideration had been given. The court of appeal "
    "disagreed: a promise to forbear from suing is good consideration, even where the claim would have failed, so "
    "long as it was made in good faith.",
    "Randomised, double-blind trial of 412 patients with moderate asthma: those given the inhaled combination had 38% "
    "fewer exacerbations over twelve months than those on the steroid alone (rate ratio 0.62, 95% CI 0.49 to 0.78; "
    "p<0.001). Serious adverse events were as frequent in both groups.",
    "We show that the spectral gap of the transition matrix bounds the mixing time from below and above. The proof "
    "uses a coupling argument for the lower eigenvalues and a conductance bound for the rest; it extends to weighted "
    "graphs whose degrees differ by a constant factor.",
    'def chunks(items, size):\n    """Yield successive lists of at most size items."""\n    for start in '
    "range(0, len(items), size):\n        yield items[start:start + size]",
    "SELECT c.name, COUNT(*) AS orders, SUM(o.total) AS revenue FROM customers c JOIN orders o ON o.customer_id = "
    "c.id WHERE o.created_at >= '2024-01-01' GROUP BY c.name HAVING COUNT(*) > 3 ORDER BY revenue DESC LIMIT 20;",
    "public static <T extends Comparable<T>> T max(List<T> values) { T best = values.get(0); for (T v : values) if "
    "(v.compareTo(best) > 0) best = v; return best; }",
    "To install the package, run `pip install example[server]` in a virtual environment. Then copy "
    "`config.example.toml` to `config.toml`, set `database.url`, and start the service with `example serve --port "
    "8080`. Logs go to standard error; set `LOG_LEVEL=debug` to see each request.",
    "Shares of the chip maker fell 6.4% on Thursday after it warned that orders for data centres would grow more "
    "slowly in the second half. Revenue of $9.2bn was in line with forecasts, but the gross margin slipped to 57%.",
    "The striker put the visitors ahead after eleven minutes with a header from a corner, and added a second from the "
    "spot before half-time. A late goal made the last ten minutes nervous, but the defence held.",
    "I've had this kettle for six months and love it. Boils fast, easy to clean, and the handle stays cool. Only "
    "complaint: the lid is a bit stiff when you open it with wet hands. Would buy again!!",
    "Terrible service. We waited 50 minutes for a table we had booked, the soup was cold, and nobody apologised. The "
    "dessert was good, I'll give them that.",
    "hey, are we still on for tomorrow? i can bring the projector but someone needs to pick up the cables. also the "
    "room is only free until 4pm so let's start on time",
    "Heat the oil in a heavy pan and soften the onions slowly, about fifteen minutes. Add the garlic, cumin and "
    "coriander and stir for one minute, then the tomatoes and chickpeas. Simmer for half an hour, season, and serve "
    "with rice and a spoon of yoghurt.",
    "The Treaty of Westphalia, signed in October 1648 in Osnabrück and Münster, ended the Thirty Years' War. It is "
    "often said to have founded the modern system of sovereign states, though historians now think that this claims "
    "too much.",
    "Plate tectonics explains why earthquakes cluster along narrow belts. Where an oceanic plate dives under a "
    "continental one, water released at depth lowers the melting point of the mantle, and volcanoes rise in a line "
    "parallel to the trench. At mid-ocean ridges the plates part and new crust forms at a few centimetres a year. "
    "Transform faults join the segments of a ridge, and along them the plates slide past each other, sometimes locked "
    "for a century and then released within a minute. Satellites measure these movements to the millimetre today.",
    "Bees find their way by the sun, by landmarks and by the pattern of polarised light. A forager that returns "
    "dances on the comb: the angle to the vertical tells the direction, the length of the waggle the distance.",
    "Warranty: two years from delivery. It covers faults of material and workmanship, and not wear, damage by water, "
    "or repairs by others. Send the device with the receipt to the address below; we pay for postage within the "
    "country.",
    "Model AX-200: input 100-240 V AC, 50/60 Hz; output 12 V DC, 5 A; operating temperature 0 to 40 °C; weight 0.35 "
    "kg; certificates CE, UL, RoHS.",
    "Section 4.2 Password policy. Passwords shall contain at least twelve characters. They shall not be shared, "
    "written down or reused. Accounts are locked after ten failed attempts. Exceptions need the written consent of "
    "the security officer.",
    "Quarterly report: net sales 1,204 (1,131), operating profit 143 (127), margin 11.9% (11.2%), orders received "
    "1,377 (1,090), employees at the end of the period 5,812 (5,640). Figures in EUR million, the previous year's in "
    "brackets.",
    "It was past midnight when she reached the harbour. The boats knocked softly against each other, and somewhere a "
    "radio played a song she had not heard since she was a child. She sat down on a coil of rope and waited for the "
    "light.",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen. The light reactions take place in the "
    "thylakoid membranes and make ATP and NADPH; the Calvin cycle spends them in the stroma to fix carbon.",
    "The gene encodes a 53 kDa protein that binds DNA and arrests the cell cycle in G1. Mutations in exons 5 to 8 "
    "were found in 61 of 120 tumours and went with shorter survival (hazard ratio 1.9).",
    "Question: Can I cancel my subscription at any time? Answer: Yes. Open Billing, choose 'Cancel plan' and confirm. "
    "You keep access until the end of the period you have paid for; we do not refund parts of a month.",
    "Subject: Maintenance window on Saturday. Dear all, the file servers will be unavailable from 22:00 to 02:00 "
    "because of a firmware update. Please save your work and log out before. Mail is not affected. Kind regards, IT "
    "operations",
    "Turn left at the lights, go straight for 300 m, and take the second exit at the roundabout. Parking is behind "
    "the building; the entrance for deliveries is on Mill Lane.",
    "El contrato se renueva automáticamente cada año, salvo que una de las partes lo cancele por escrito con treinta "
    "días de antelación. Los datos personales se conservan durante cinco años.",
    "¿Cómo puedo cambiar la dirección de facturación de mi cuenta?",
    "La Révolution française a mis fin à la monarchie absolue. En août 1789, l'Assemblée a aboli les privilèges et "
    "adopté la Déclaration des droits de l'homme et du citoyen.",
    "Der Antrag ist schriftlich zu stellen und muss spätestens vier Wochen vor Beginn der Elternzeit vorliegen. Die "
    "Personalabteilung bestätigt den Eingang innerhalb von drei Tagen.",
    "Il museo è aperto tutti i giorni tranne il lunedì. I biglietti si possono comprare alla cassa o in rete.",
    "A vacina é gratuita para crianças até cinco anos e para pessoas com mais de sessenta.",
    "De trein naar Utrecht vertrekt vandaag van spoor 7 in plaats van spoor 5.",
    "Москва была впервые упомянута в летописи в 1147 году. Сегодня в ней живёт более двенадцати миллионов человек.",
    "人工智能正在改变医院里医生阅读影像的方式。研究人员说,机器可以先筛选,再由医生判断。",
    "この製品は防水ではありません。水の近くで使わないでください。",
    "يجب تقديم طلب الإجازة قبل أسبوعين على الأقل من تاريخ البدء.",
)


def fitting_texts() -> list[str]:
    """Return 48 texts of 5 to some 100 words, most of them English."""
    return list(_TEXTS)


def fitting_pairs() -> list[tuple[str, str]]:
    """Return ``(query, text)`` pairs: each of the longer texts with one of the short ones."""
    queries = [text for text in _TEXTS if len(text) <= _LONGEST_QUERY]
    texts = [text for text in _TEXTS if len(text) > _LONGEST_QUERY]
    return [(queries[place % len(queries)], text) for place, text in enumerate(texts)]
