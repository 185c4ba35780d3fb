"""Finds e-mails, phones, identity and card numbers, IBANs and IP addresses, with their check digits.

Every pattern is bounded: no repetition without an upper limit, so the time grows with the length of the text and no
text can make it grow faster.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

Span = tuple[int, int]

_DOMAIN = re.compile(r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])")
_LOCAL = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+/=?^_`{|}~-")
_LOCAL_EDGES = "'`*{|}=/.!?&#$^~"
_MOST_LOCAL = 320
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?=[ -]?[A-Z0-9]{4})")
_IBAN_LENGTHS = MappingProxyType({
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
})  # fmt: skip
_CARD = re.compile(r"(?<![\w.,])[2-6]\d{3}(?:[ -]?\d){8,15}(?![\w]|[.,]\d)")
_DNI = re.compile(r"(?<![\w.])(?:\d{8}|\d{1,2}\.\d{3}\.\d{3}|\d{7})[ -]?[A-Za-z](?!\w)")
_NIE = re.compile(r"(?<!\w)[XYZxyz][ -]?\d{7}[ -]?[A-Za-z](?!\w)")
_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"
_SSN = re.compile(r"(?<![\w-])(?!000|666|9)\d{3}([- ])(?!00)\d{2}\1(?!0000)\d{4}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]{0,5}:)[0-9A-Fa-f:.]{3,45}(?![\w:])")
_PHONES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}(?:[ .\-/]{0,2}(?:\(\d{1,4}\)|\d)){6,13}(?!\w)",  # international
        r"(?<![\w+-])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[ .-])[2-9]\d{2}[ .-]\d{4}(?![\w-])",  # United States
        r"(?<![\w+.,-])[6789]\d{2}(?:(?:[ -]?\d{2}){3}|(?:[ -]?\d{3}){2})(?![\w-]|[.,]\d)",  # Spain
        r"(?<![\w+.,-])[89]\d[ -]\d{3}(?:[ -]?\d{2}){2}(?![\w-]|[.,]\d)",  # Spain, two figures of a province
    )
)


def _emails(text: str) -> Iterator[Span]:
    taken = 0
    for found in _DOMAIN.finditer(text):
        start = found.start()
        least = max(taken, start - _MOST_LOCAL)
        while start > least and (text[start - 1] in _LOCAL or (text[start - 1] > "\x7f" and text[start - 1].isalnum())):
            start -= 1
        start += len(text[start : found.start()]) - len(text[start : found.start()].lstrip(_LOCAL_EDGES))
        if start < found.start():
            taken = found.end()
            yield start, found.end()


def _ibans(text: str) -> Iterator[Span]:
    for found in _IBAN.finditer(text):
        wanted = _IBAN_LENGTHS.get(found.group()[:2], 0)
        signs, place = found.group(), found.end()
        while len(signs) < wanted and place < len(text):
            if text[place] in " -" and text[place - 1] not in " -":
                place += 1
            elif text[place].isascii() and text[place].isalnum():
                signs += text[place].upper()
                place += 1
            else:
                break
        ends = place == len(text) or not text[place].isalnum()
        if wanted and len(signs) == wanted and ends and _mod_97(signs) == 1:
            yield found.start(), place


def _mod_97(iban: str) -> int:
    """Return the remainder of ISO 13616, 1 for a valid number."""
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97


def _cards(text: str) -> Iterator[Span]:
    for found in _CARD.finditer(text):
        digits = [int(sign) for sign in found.group() if sign.isdigit()]
        if len(set(digits)) > 1 and _luhn(digits):
            yield found.span()


def _luhn(digits: list[int]) -> bool:
    """Whether the last digit is the check digit of ISO/IEC 7812."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _spanish_ids(text: str) -> Iterator[Span]:
    for found in _DNI.finditer(text):
        if _letter_fits(found.group()):
            yield found.span()
    for found in _NIE.finditer(text):
        if _letter_fits(str("XYZ".index(found.group()[0].upper())) + found.group()[1:]):
            yield found.span()


def _letter_fits(number: str) -> bool:
    """Whether the last letter is the number modulo 23, as the Spanish ministry of the interior defines it."""
    digits = "".join(sign for sign in number if sign.isdigit())
    return _LETTERS[int(digits) % 23] == number[-1].upper()


def _social_security(text: str) -> Iterator[Span]:
    return (found.span() for found in _SSN.finditer(text))


def _addresses(text: str) -> Iterator[Span]:
    for pattern in (_IPV4, _IPV6):
        for found in pattern.finditer(text):
            given = found.group().rstrip(".")
            given = given[:-1] if given.endswith(":") and not given.endswith("::") else given
            try:
                address = ipaddress.ip_address(given)
            except ValueError:
                continue
            # 127.0.0.1 and 0.0.0.0 are nobody's.
            if not (address.is_loopback or address.is_unspecified):
                yield found.start(), found.start() + len(given)


def _phones(text: str) -> Iterator[Span]:
    for pattern in _PHONES:
        yield from (found.span() for found in pattern.finditer(text))


FINDERS: Mapping[str, Callable[[str], Iterator[Span]]] = MappingProxyType(
    {
        "email": _emails,
        "iban": _ibans,
        "card": _cards,
        "es_id": _spanish_ids,
        "us_ssn": _social_security,
        "ip": _addresses,
        "phone": _phones,
    }
)
"""What finds each kind; of two that overlap the one named first wins. A kind gives ``(start, end)`` of each."""

PATTERNS = (_DOMAIN, _IBAN, _CARD, _DNI, _NIE, _SSN, _IPV4, _IPV6, *_PHONES)
"""Every pattern, for the test that holds them bounded."""
