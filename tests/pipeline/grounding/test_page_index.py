import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scraper.pipeline.grounding import PageIndex, field
from scraper.pipeline.grounding.text import MAX_EVIDENCE_CHARS

PRICE = field("price", {"type": "number"})
NAME = field("name", {"type": "string"})


def found(text, value, wanted=NAME, **about):
    return PageIndex(text, **about).find(value, wanted)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Acme Kettle X200", "ACME  kettle x200"),
        ("“Acme” Kettle – X200", '"Acme" Kettle - X200'),
        ("Acme\u00a0Kettle", "Acme Kettle"),
        ("Wasserkocher", "Wasser\u00adkocher"),
        ("Schuhgröße", "SCHUHGRÖSSE"),
        ("Ａｃｍｅ　Ｋｅｔｔｌｅ", "Acme Kettle"),
        ("Marks & Spencer", "Marks &amp; Spencer"),
        ("Fish &amp; Chips", "Fish & Chips"),
        ("Acme | Kettle | X200", "Acme Kettle X200"),
        ("The Acme\n\nKettle", "The Acme Kettle"),
        ("Area: 12 m^2", "12 m²"),
        ("青い電気ケトルです", "電気ケトル"),
        ("ราคากาต้มน้ำไฟฟ้า", "กาต้มน้ำไฟฟ้า"),
        ("Kettle (https://e.example/k) in blue", "Kettle in blue"),
        ("Main Street 5\n1010 Wien\nAustria", "Main Street 5, 1010 Wien, Austria"),
        ("Write to info@shop.example today", "info@shop.example"),
        ("Rated ★★★★☆", "★★★★☆"),
        ("Size: M", "M"),
        ("C++ developer", "C++ developer"),
        ("anker", "Anker"),
        ("All Bosch drills", "BOSCH"),
        ("Weight: 12kg", "12 kg"),
        ("12,99 €", "EUR 12.99"),
        ("12,99 €", "12.99 EUR"),
    ],
)
def test_a_text_is_found_however_it_is_dressed(text, value):
    assert found(text, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Kettles by Acmeville", "Acme"),
        ("I only have one of them in my whole home", "ONLY"),
        ("Sizes 1 2 3", "amx1"),
        ("5 kg, 12 litres", "12 kg"),
        ("12.99 $", "12.99 EUR"),
        ("I'm in", "M"),
        ("size m", "M"),
        ("Acme Kettle", "Acme Toaster"),
        ("Ann Lee and Bob Ray", "Ann Ray"),
        ("Main Street 5", "Main Street 5, 1010 Wien"),
        ("Kettle", ""),
        ("Kettle", "  "),
        ("", "Kettle"),
    ],
)
def test_a_text_that_does_not_stand_there_is_not_found(text, value):
    assert found(text, value) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.299,00 €", 1299),
        ("1,299.00 USD", 1299.0),
        ("$1,299.50", 1299.5),
        ("1 299 kr", 1299),
        ("1\u202f299,95 €", 1299.95),
        ("CHF 1'299.–", 1299),
        ("CHF 1’299.50", 1299.5),
        ("₹1,23,456.00", 123456),
        ("12^99 €", 12.99),
        ("12⁹⁹ €", 12.99),
        ("$12 99", 12.99),
        ("12 ,99 €", 12.99),
        ("~~$20~~ $15", 20),
        ("Rs23.450", 23450),
        ("10–20 €", 20),
        ("10.00-20.00 EUR", 20),
        ("Price: 450", 450),
        ("450 руб.", 450),
        ("30000원", 30000),
        ("١٢٫٥٠ د.إ", 12.5),
        ("1.299,- €", 1299),
        ("Price 12,990", 12990),
    ],
)
def test_a_price_is_found_however_it_is_written(text, value):
    assert found(text, value, PRICE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("€ 15", 5),
        ("€ 20, since 2025", 2025),
        ("€ 12.99", 12),
        ("€ 12.99", 99),
        ("€ 1.299,00", 299),
        ("€ 20.00, B07F5", 7),
        ("€ 20.00, article AB450", 450),
        ("€ 20.00, only 5 left", 5),
        ("€ 20.00, 5 May 2024 at 17:30", 5),
        ("€ 20.00, open 17:30", 17),
        ("1 2 3 4 5\n€ 20.00", 4),
        ("€ 20.00, 450 ml", 450),
        ("€ 20.00, enough to feed 2-3 people", 3),
        ("€ 20.00", -20),
        ("€ 20.00", float("nan")),
        ("€ 20.00", 1e300),
    ],
)
def test_a_price_that_does_not_stand_there_is_not_found(text, value):
    assert found(text, value, PRICE) is None


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("Bewertung\n4 von 5", "rating", 4),
        ("4.6 out of 5 (1.2k reviews)", "review_count", 1200),
        ("Rated 4,6 of 5", "rating", 4.6),
        ("Für 4 Personen", "servings", 4),
        ("Sale: -15 %", "discount_percent", 15),
        ("15% off", "discount", 0.15),
        ("Temperature: −5 °C", "temperature", -5),
        ("1½ cups", "cups", 1.5),
        ("1 1/2 cups", "cups", 1.5),
        ("Umsatz: 3,5 Mio. €", "revenue", 3_500_000),
        ("₹ 2.5 lakh", "salary", 250_000),
        ("人口は30万人", "population", 300_000),
        ("5kg", "weight", 5),
        ("10x20x30 cm", "height", 20),
        ("Founded 2024-05-01", "year", 2024),
        ("約30分", "minutes", 30),
        ("Nur noch 3 im Lager", "stock", 3),
        ("Anno: 1987", "year", 1987),
        ("Stand 05.03.2024", "year", 2024),
        ("Total: 1 h 30 min", "total_minutes", 90),
        ("Zubereitung: 2 Stunden", "cook_time_minutes", 120),
        ("Duração: 1 hora e 15 minutos", "total_minutes", 75),
        ("所要時間 1時間30分", "minutes", 90),
        ("Ready in 45 minutes", "duration", "PT45M"),
        ("Ready in 1 hour 30 minutes", "total_time", "PT1H30M"),
    ],
)
def test_other_numbers_are_found_beside_what_speaks_for_them(text, name, value):
    assert found(text, value, field(name))


def test_a_short_number_must_stand_beside_the_name_of_its_field_where_the_page_has_that_name():
    page = "Rating: 4 of 5\n\nChapter 3\nPage 2"
    assert found(page, 4, field("rating"))
    assert found(page, 3, field("rating")) is None


def test_a_short_number_given_as_text_follows_the_rules_of_numbers():
    assert found("Rating: 4\n\n\nChapter 3 of 9", "3", field("rating")) is None
    assert found("Rating: 4", "4", field("rating"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 March 2024", "2024-03-05"),
        ("March 5th, 2024", "2024-03-05"),
        ("Mar. 5, 2024", "2024-03-05"),
        ("5. März 2024", "2024-03-05"),
        ("le 5 mars 2024", "2024-03-05"),
        ("1er août 2024", "2024-08-01"),
        ("5 de marzo de 2024", "2024-03-05"),
        ("5 de março de 2024", "2024-03-05"),
        ("5 marzo 2024", "2024-03-05"),
        ("5 maart 2024", "2024-03-05"),
        ("5 marca 2024", "2024-03-05"),
        ("5 марта 2024 г.", "2024-03-05"),
        ("5. března 2024", "2024-03-05"),
        ("5 Mart 2024", "2024-03-05"),
        ("2024. március 5.", "2024-03-05"),
        ("5 مارس 2024", "2024-03-05"),
        ("5 मार्च 2024", "2024-03-05"),
        ("2024年3月5日", "2024-03-05"),
        ("2024년 3월 5일", "2024-03-05"),
        ("05.03.2024", "2024-03-05"),
        ("5.3.24", "2024-03-05"),
        ("05-Mar-2024", "2024-03-05"),
        ("3/5/2024", "2024-03-05"),
        ("3/5/2024", "2024-05-03"),
        ("2024/03/05", "2024-03-05"),
        ("2024-03-05T10:00:00Z", "2024-03-05"),
        ("2024-03-05T10:00:00Z", "2024-03-05T10:00:00Z"),
        ("March 5, 2024 at 7:30 pm", "2024-03-05T19:30:00"),
        ("5 March 2024, doors 19.30", "2024-03-05T19:30:00+01:00"),
        ("5. März 2024, 19 Uhr", "2024-03-05T19:00:00"),
        ("5 March 2024", "2024-03-05T00:00:00Z"),
        ("March 2024", "2024-03"),
        ("Fri, 5 March\n© 2024", "2024-03-05"),
        ("2024-03-05", "March 5, 2024"),
    ],
)
def test_a_date_is_found_in_the_language_of_the_page(text, value):
    assert found(text, value, field("published", {"format": "date"}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5 March 2024", "2024-03-06"),
        ("5 March 2023", "2024-03-05"),
        ("15 March 2024", "2024-03-05"),
        ("5 Marchers 2024", "2024-03-05"),
        ("yesterday", "2024-03-05"),
        ("5 March 2024, 19:30", "2024-03-05T20:15:00"),
        ("31.12.2024", "2024-13-31"),
    ],
)
def test_another_date_is_not_found(text, value):
    assert found(text, value, field("published", {"format": "date"})) is None


@pytest.mark.parametrize(
    ("value", "page"),
    [
        ("https://shop.example/kettle", "See kettle (https://shop.example/kettle) now"),
        ("http://www.shop.example/kettle/", "See kettle (https://shop.example/kettle#top) now"),
        ("/kettle", "See kettle (https://shop.example/kettle) now"),
        ("https://shop.example/a b", "x (https://shop.example/a%20b)"),
        ("https://acme.example", "Visit www.acme.example today"),
        ("https://acme.example/about", "Visit acme.example/about."),
        ("https://shop.example/p/1", ""),
    ],
)
def test_an_address_is_found_among_the_links_and_in_the_text(value, page):
    link = field("link", {"type": "string", "format": "uri"})
    assert found(page, value, link, address="https://shop.example/p/1")


@pytest.mark.parametrize(
    "value", ["https://evil.example/kettle", "https://shop.example/kettle2", "https://shop.example", "not a link"]
)
def test_another_address_is_not_found(value):
    link = field("link", {"type": "string", "format": "uri"})
    assert found("See kettle (https://shop.example/kettle) now", value, link) is None


@pytest.mark.parametrize(
    ("page", "value"),
    [
        ("Call +49 (0)30 / 1234 567", "+49 30 1234567"),
        ("Tel. 030-1234567", "030 1234567"),
        ("EAN 4 054278 533728", "4054278533728"),
        ("Art. 002.937.72", "00293772"),
        ("Art. AB-12/34 C", "AB1234C"),
    ],
)
def test_codes_and_phone_numbers_are_found_whatever_separates_their_groups(page, value):
    assert found(page, value)


def test_a_part_of_a_code_is_not_found():
    assert found("EAN 4054278533728", "054278533728") is None


@pytest.mark.parametrize(
    ("page", "value"), [("12 €", "EUR"), ("$12", "USD"), ("12 zł", "PLN"), ("Rs 12", "INR"), ("12 EUR", "€")]
)
def test_a_currency_is_found_by_its_code_or_its_sign_beside_an_amount(page, value):
    assert found(page, value, field("currency"))


@pytest.mark.parametrize(("page", "value"), [("12 €", "USD"), ("We ship to Europe", "EUR"), ("Hurry 12", "USD")])
def test_another_currency_is_not_found(page, value):
    assert found(page, value, field("currency")) is None


STORY = " ".join(f"The {n}th sentence of the story tells about fox number {n * n}." for n in range(60))


def test_a_long_text_is_found_though_the_page_breaks_it_and_a_little_is_missing():
    page = STORY.replace(". The 20th", ".\n\nAdvertisement\n\nThe 20th").replace("sentence of", "sentence  of")
    assert found(page, STORY, field("body"))


def test_a_long_text_that_is_half_made_up_is_not_found():
    half = STORY[: len(STORY) // 2]
    assert found(half, STORY, field("body")) is None


def test_evidence_is_the_pages_own_line():
    assert found("Title: Kettle\n\nNow only 12,99 €!", 12.99, PRICE) == "Now only 12,99 €!"


def test_evidence_of_a_long_line_is_the_part_around_the_value_and_bounded():
    line = "Ünïcode ½ words " * 100 + "price 12,99 € here " + "more words " * 100
    for value, wanted, shown in [(12.99, PRICE, "12,99 €"), ("price 12,99 € here", NAME, "price 12,99 € here")]:
        evidence = found(line, value, wanted)
        assert shown in evidence
        assert len(evidence) <= MAX_EVIDENCE_CHARS


def test_title_and_address_of_the_page_count():
    page = PageIndex("text", title="Kettle X200", address="https://shop.example/p/AB-123456")
    assert page.find("Kettle X200") == "Kettle X200"
    assert page.find("AB-123456") == "Address: https://shop.example/p/AB-123456"


def test_a_number_with_too_many_digits_to_be_written_is_not_found():
    assert found("€ 20.00", 10**5000, PRICE) is None


def test_what_is_no_scalar_is_not_found():
    page = PageIndex("true null 1")
    assert [page.find(value) for value in (True, None, [1], {"a": 1})] == [None] * 4


@given(st.text(), st.one_of(st.text(), st.floats(), st.integers(), st.dates().map(str), st.datetimes().map(str)))
def test_no_page_and_no_value_is_an_error(text, value):
    for wanted in (NAME, PRICE, field("date", {"format": "date"}), field("url", {"format": "uri"})):
        evidence = found(text, value, wanted, title=text, address=text[:50])
        assert evidence is None or len(evidence) <= MAX_EVIDENCE_CHARS


@given(st.text(min_size=1), st.text(), st.text())
def test_a_word_is_found_where_it_stands(word, before, after):
    value = "k" + "".join(filter(str.isalnum, word)) + "k"
    assert found(f"{before} {value} {after}", value)


@pytest.mark.parametrize(
    "unit",
    ["100 ", "1-", "1.", "1,000,", " ", "a", "\n", "(http://", " (http://a", "(((", "1/", "٣", "&amp;", "5 may "],
)
def test_no_page_makes_a_look_up_expensive(unit):
    """Cost must stay proportional: thirty times the page may not take more than a hundred times the CPU."""
    values = ["x" * 50, "1-1-1-1-1-1-1", "100 " * 5, 100100, "2024-05-05", unit * 20, "a, b, c", " " * 1000 + ",x"]

    def cpu(times):
        page, began = unit * times, time.process_time()
        index = PageIndex(page, address="https://e.example/")
        for value in values:
            for wanted in (NAME, PRICE, field("rating")):
                index.find(value, wanted)
        return time.process_time() - began

    cpu(1000)
    assert cpu(60_000) < 100 * max(cpu(2000), 0.002)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([f"{year}-07-{day:02}" for year in range(2031, 2039) for day in range(1, 29)], field("published")),
        ([f"C{first}{second}" for first in "VWXYZ" for second in string.ascii_uppercase], field("currency")),
    ],
)
def test_what_stands_nowhere_does_not_have_the_page_gone_through_for_each_value(values, wanted):
    """Lists are long, and nothing else goes on in this process meanwhile."""
    text = "12 items of 100 pieces, " * 12_000
    index = PageIndex(text)
    index.find(values.pop(), wanted)  # makes what all others share

    began = time.process_time()
    for _ in range(3):
        re.search(r"(?<!\d)2050(?!\d)", text)
    once = (time.process_time() - began) / 3

    began = time.process_time()
    assert [value for value in values if index.find(value, wanted)] == []
    assert time.process_time() - began < len(values) * once / 2
