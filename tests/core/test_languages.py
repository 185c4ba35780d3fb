"""A text in another language is told from one in the model's own, and doubt is never called foreign."""

import logging

import pytest

from semantic_ranker import CrossEncoder
from semantic_ranker.languages import foreign_language, foreign_to

SPANISH = [
    "La oficina abre a las nueve y cierra a las seis de la tarde.",
    "Para cambiar una contraseña olvidada hay que abrir los ajustes de la cuenta.",
    "El almuerzo se sirve al mediodía en el comedor de la planta baja.",
]
ENGLISH = ["Cats sleep all day.", "To change a forgotten password, open Settings.", "Lunch is at noon."]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("¿Cómo puedo cambiar la contraseña de mi cuenta?", "es"),
        ("Como é que eu posso mudar a senha da minha conta?", "pt"),
        ("Comment est-ce que je peux changer le mot de passe de mon compte ?", "fr"),
        ("Wie kann ich das Passwort für mein Konto ändern, wenn ich es vergessen habe?", "de"),
        ("Come posso cambiare la password del mio account se non la ricordo più?", "it"),
        ("как сменить пароль от моей учётной записи", "ru"),
        ("パスワードを変更するにはどうすればよいですか", "ja"),
        ("如何更改我的密码", "zh"),
        ("비밀번호를 어떻게 변경하나요", "ko"),
        ("كيف أغير كلمة المرور", "ar"),
        ("πώς αλλάζω τον κωδικό μου", "el"),
    ],
)
def test_surely_foreign(text, language):
    assert foreign_language(text, ["en"]) == language
    assert foreign_language(text, ["en", language]) is None


@pytest.mark.parametrize(
    "text",
    [
        *ENGLISH,
        "how do I reset my password",
        "",
        "  \n ",
        "12345 !?",
        "CRISPR-Cas9",
        "hotels near Rio de la Plata",
        "def es(de): return de + de",
        "café naïve résumé",
        "The word 'привет' means hello in Russian, as the dictionary says.",
        "Müller, Köln",
    ],
)
def test_doubt_is_not_foreign(text):
    assert foreign_language(text, ["en"]) is None


def test_unknown_languages_of_a_model_guard_nothing():
    assert foreign_to(SPANISH[0], SPANISH, ()) is None
    assert foreign_language(SPANISH[0], ["eu"]) is None  # no word list: its texts cannot be told from others
    assert foreign_language("как сменить пароль", ["eu"]) == "ru"


def test_most_of_the_texts_decide():
    assert foreign_to("Panthers 2015", [*SPANISH, ENGLISH[0]], ["en"]) == "es"
    assert foreign_to("Panthers 2015", [*ENGLISH, SPANISH[0]], ["en"]) is None
    assert foreign_to("¿Cómo puedo cambiar la contraseña de mi cuenta?", ENGLISH, ["en"]) == "es"
    assert foreign_to("Panthers 2015", [], ["en"]) is None


def test_only_the_beginning_of_a_long_text_is_read():
    assert foreign_language("the office is open and it is here " * 50 + " ".join(SPANISH) * 1000, ["en"]) is None


def test_rank_keeps_the_order_and_says_why(caplog):
    with caplog.at_level(logging.INFO):
        ranked = CrossEncoder().rank("¿Cómo puedo cambiar la contraseña?", SPANISH, top_k=2)
    assert [item.index for item in ranked] == [0, 1]
    assert {item.degraded for item in ranked} == {"language es"}
    assert ranked[0].logit > ranked[1].logit
    assert 1 >= ranked[0].relevance_score > ranked[1].relevance_score >= 0
    assert "contraseña" not in caplog.text
    assert "language es" in caplog.text


def test_rank_scores_all_the_same_when_told_to():
    ranked = CrossEncoder(other_languages="score").rank("¿Cómo puedo cambiar la contraseña?", SPANISH)
    assert [item.degraded for item in ranked] == [None] * 3
    assert ranked[0].index == 1


def test_rank_in_its_own_language_is_not_guarded():
    ranked = CrossEncoder().rank("how do I reset my password", ENGLISH)
    assert ranked[0].index == 1
    assert ranked[0].degraded is None


def test_texts_that_are_no_strings_are_left_out_of_a_kept_order_too():
    ranked = CrossEncoder(on_error="skip").rank("¿Cómo puedo cambiar la contraseña?", [None, *SPANISH])
    assert [item.index for item in ranked] == [1, 2, 3]
