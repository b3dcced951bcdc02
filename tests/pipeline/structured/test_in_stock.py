import pytest

from scraper.pipeline.structured.in_stock import contradicted

TEXT = "Title: Kettle\n\nShop\n\n# Kettle X200\n24,90 €\n{words}\nAdd to basket"


@pytest.mark.parametrize(
    "words",
    [
        "Currently unavailable.",
        "SOLD OUT",
        "Derzeit nicht verfügbar",
        "Actuellement indisponible.",
        "Momentálne nie je možné produkt kúpiť",
        "Nincs készleten",
        "Нет в наличии",
        "המוצר אינו במלאי",
        "売り切れ",
    ],
)
def test_words_that_it_is_gone_speak_against_data_that_has_it(words):
    text = TEXT.format(words=words)
    assert contradicted(text, "InStock")
    assert not contradicted(text, "OutOfStock")


@pytest.mark.parametrize("words", ["In stock", "Sofort lieferbar", "Na sklade", "在庫あり"])
def test_words_that_it_is_there_speak_against_data_that_lacks_it(words):
    text = TEXT.format(words=words)
    assert contradicted(text, "OutOfStock")
    assert not contradicted(text, "InStock")


@pytest.mark.parametrize(
    "words", ["", "Tell me when in stock", "Back in stock on Monday", "Unavailability is our shame"]
)
def test_other_words_speak_against_nothing(words):
    text = TEXT.format(words=words)
    assert not contradicted(text, "InStock")
    assert not contradicted(text, "OutOfStock")


def test_what_is_said_of_other_goods_counts_for_nothing():
    assert not contradicted(TEXT.format(words="## You may like\nToaster: sold out"), "InStock")
    assert not contradicted("Sold out: Toaster\n\n# Kettle X200\n24,90 €", "InStock")
    assert not contradicted(TEXT.format(words=f"{'Made of steel. ' * 200}sold out"), "InStock")


@pytest.mark.parametrize("words", ["Retiro en tienda\n\nNo disponible", "Store pick-up: currently unavailable"])
def test_what_cannot_be_picked_up_in_a_shop_may_still_be_bought(words):
    assert not contradicted(TEXT.format(words=words), "InStock")
    assert contradicted(TEXT.format(words=f"{words}\nSold out"), "InStock")


def test_a_price_that_is_a_heading_ends_nothing():
    assert contradicted(TEXT.format(words="## 24,90 €\nSold out"), "InStock")


@pytest.mark.parametrize("state", ["PreOrder", "BackOrder", "EventScheduled"])
def test_states_that_are_neither_are_left_alone(state):
    assert not contradicted(TEXT.format(words="Sold out"), state)


def test_a_page_without_a_heading_contradicts_nothing():
    assert not contradicted("Kettle X200\nSold out", "InStock")
