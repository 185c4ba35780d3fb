"""Every format to plain blocks."""

import pytest

from semantic_ranker.documents import parse_document
from semantic_ranker.errors import InvalidInputError


def blocks(document):
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def read(text, name):
    return parse_document(text.encode() if isinstance(text, str) else text, name)


MARKDOWN = """---
title: "Guide"
tags: [a, 'b']
links:
  - one
  - two
---
Intro with *emphasis*, `code` and a [link]({% page "/x" %}) on
two lines, ask {% slack_channel "help" %}. See :func:`~os.glob`, `there`_ and `Words <https://x.org>`_.

## First { #first }

{* ../src/a.py hl[3] *}

/// note | Careful

Mind this::

///

- one
- two
  1. inner

      ```
      x = 1
      ```

| a | b |
|---|---|
| 1 | 2 |

```python
# no heading { #kept }
{% kept %}
```

<script>bad()</script>
<p>Raw &amp; html</p>

> quoted
"""


def test_markdown_blocks():
    document = read(MARKDOWN, "a/guide.md")
    assert (document.title, document.metadata) == (
        "Guide",
        {"title": "Guide", "tags": ("a", "b"), "links": ("one", "two")},
    )
    assert blocks(document) == [
        (
            "paragraph",
            "Intro with emphasis, code and a link on two lines, ask help. See os.glob, there and Words.",
        ),
        ("heading", "First"),
        ("paragraph", "Careful"),
        ("paragraph", "Mind this:"),
        ("list", "- one\n- two\n  1. inner\n    x = 1"),
        ("table", "a | b\n1 | 2"),
        ("code", "# no heading { #kept }\n{% kept %}"),
        ("paragraph", "Raw & html"),
        ("paragraph", "quoted"),
    ]
    assert [block.level for block in document.blocks][:2] == [0, 2]


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ('+++\ntitle = "T"\nn = [1]\n[x]\ny = 2\n+++\nBody', {"title": "T", "n": ("1",)}),
        ("---\ntitle: T\nabout: >\n  long\n  words\n# note\n---\nBody", {"title": "T", "about": "long words"}),
        ("---\nno front matter\n---\nBody", {}),
        ("---\ntitle: T\nBody", {}),
        ("---\ntitle: T\n--- x\nBody", {}),
        ("+++\nbroken\n+++\nBody", {}),
        ("---\nt: !!python/object:os.system x\n---\nBody", {"t": "!!python/object:os.system x"}),
    ],
)
def test_front_matter(front, expected):
    document = read(front, "a.md")
    assert document.metadata == expected
    assert document.text.endswith("Body")


RST = """
=====
Title
=====

.. _target:
.. comment

Some :mod:`os` text with ``code``, *emphasis* and `link <http://x>`_ over
two lines.

Section
-------

.. note::
   :class: x

   Inside the note.

.. toctree::

   a
   b

.. versionadded:: 3.8
   Something.

Example::

    x = 1

    y = 2

.. code-block:: python
   :linenos:

   def f():
       return 1

- one
  more

- two

>>> 1 + 1
2

===== =====
a     b
===== =====
1     2
===== =====

-----

Last.
"""


def test_rst_blocks():
    assert blocks(read(RST, "a.rst")) == [
        ("heading", "Title"),
        ("paragraph", "Some os text with code, emphasis and link over two lines."),
        ("heading", "Section"),
        ("paragraph", "Inside the note."),
        ("paragraph", "3.8"),
        ("paragraph", "Something."),
        ("paragraph", "Example:"),
        ("code", "x = 1\n\ny = 2"),
        ("code", "def f():\n    return 1"),
        ("list", "- one more\n- two"),
        ("code", ">>> 1 + 1\n2"),
        ("table", "a | b\n1 | 2"),
        ("paragraph", "Last."),
    ]


HTML = """<!doctype html><html lang="es"><head><title>La página</title>
<meta name="description" content="De qué va"><script>x</script></head>
<body><nav>menu</nav><main><h1>Título <a>¶</a></h1>suelto<br>otro <!-- no -->
<div><p>Uno <b>dos</b>tres<img alt="foto"></p></div>
<ul><li>a<ol><li>x</li></ol></li><li>b</li></ul>
<pre>  k = 1
  m</pre><table><tr><th>a</th><td>b</td></tr><tr><td>1</td><td>2</td></tr></table></main>
<footer>pie</footer></body></html>"""


def test_html_blocks():
    document = read(HTML, "a.html")
    assert document.title == "La página"
    assert document.metadata == {"description": "De qué va", "language": "es"}
    assert blocks(document) == [
        ("heading", "Título"),
        ("paragraph", "suelto\notro"),
        ("paragraph", "Uno dostresfoto"),
        ("list", "- a\n  - x\n- b"),
        ("code", "  k = 1\n  m"),
        ("table", "a | b\n1 | 2"),
    ]


def test_html_nested_deeper_than_the_stack():
    document = read("<div>" * 5000 + "<p>deep</p>" + "</div>" * 5000, "a.html")
    assert document.text == "deep"


def test_text_blocks():
    document = read("One\ntwo\n\n\n- a\n- b\n", "a.txt")
    assert blocks(document) == [("paragraph", "One\ntwo"), ("list", "- a\n- b")]


def pdf(pages, *, title="", outline=(), encrypt=""):
    """Write a PDF by hand: the reader's library writes no text."""
    from io import BytesIO

    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(width=600, height=800)
        page[NameObject("/Resources")] = DictionaryObject(
            {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
        )
        stream = DecodedStreamObject()
        shown = "".join(f"({line}) Tj T* " for line in lines)
        stream.set_data(f"BT /F1 12 Tf 14 TL 40 760 Td {shown}ET".encode("cp1252"))
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    for name, page in outline:
        writer.add_outline_item(title=name, page_number=page)
    if encrypt:
        writer.encrypt(encrypt, algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


PAGES = [
    ["Handbook of things", "Travel", "You may travel when your manager has agreed to it in advan-",
     "ce, and every trip is booked with the travel agency of ours.", "Ask.",
     "Then the second paragraph begins here and is long enough",
     "to go on to the next page without any mark that would", "1"],
    ["Handbook of things", "end it in between.", "- first item", "- second item", "  that goes on", "2"],
    ["Handbook of things", "Leave", "Leave is paid.", "3"],
]  # fmt: skip


def test_pdf_paragraphs_are_put_together():
    document = read(pdf(PAGES, title="The Handbook", outline=[("Travel", 0), ("Leave", 2)]), "a.pdf")
    assert document.title == "The Handbook"
    assert blocks(document) == [
        ("heading", "Travel"),
        (
            "paragraph",
            "You may travel when your manager has agreed to it in advance, and every trip is booked with the travel "
            "agency of ours. Ask.",
        ),
        (
            "paragraph",
            "Then the second paragraph begins here and is long enough to go on to the next page without any mark that "
            "would end it in between.",
        ),
        ("list", "- first item\n- second item that goes on"),
        ("heading", "Leave"),
        ("paragraph", "Leave is paid."),
    ]
    assert [block.page for block in document.blocks] == [1, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf([[]]), "no text"),
        (pdf([["Secret"]], encrypt="pass"), "encrypted"),
        (b"%PDF-1.7 broken", "damaged"),
        (pdf([["Some text"]])[:300], "damaged"),
    ],
)
def test_pdf_refused_with_reason(data, reason):
    with pytest.raises(InvalidInputError, match=reason):
        read(data, "a.pdf")


@pytest.mark.parametrize("name", ["a.md", "a.rst", "a.html", "a.txt"])
@pytest.mark.parametrize(
    "text",
    ["#" * 5000, "[" * 5000, "> " * 3000 + "x", "*a " * 5000, "<" * 9000, "`" * 9000, "- " * 2000 + "x", "|" * 9000,
     "= \n" * 3000, "{%" * 4000, ".. note::\n" * 500 + "x", "<ul><li>" * 400 + "x", "<!--" * 3000 + "x"],
)  # fmt: skip
def test_hostile_markup_is_read_or_refused(name, text):
    try:
        document = read("word " + text, name)
    except InvalidInputError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert document.text
    assert not refusal or "Cannot read" in refusal
