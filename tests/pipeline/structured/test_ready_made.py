"""Which of the ready-made schemas a page can answer all by itself, and what is left to ask of one that says much."""

import pytest

from scraper.pipeline.clean import clean
from scraper.pipeline.schema import compile_schema
from scraper.pipeline.structured.known import known_values
from scraper.pipeline.structured.merge import merged, missing, settled
from scraper.pipeline.structured.vocabulary import SOURCES
from scraper.schemas import named_schema
from tests.pipeline.structured.test_known import ld

URL = "https://nordlys.example/p"
FIRST = "A soup as green as a meadow, ready before anyone is hungry, and as good on the next day."
RATED = {"@type": "AggregateRating", "ratingValue": "4.5", "reviewCount": 12}
SHOWN_RATING = "<p>Rated 4.5 of 5 by 12 readers</p><p>12 reviews</p>"
RECIPE = {
    "@type": "Recipe",
    "name": "Pea soup with mint",
    "author": {"@type": "Person", "name": "Ida Berg"},
    "recipeIngredient": ["500 g peas", "1 onion"],
    "recipeInstructions": [{"@type": "HowToStep", "text": "Chop it."}, {"@type": "HowToStep", "text": "Boil it."}],
    "prepTime": "PT15M",
    "cookTime": "PT30M",
    "totalTime": "PT45M",
    "recipeYield": "4 servings",
    "recipeCategory": "Soup",
    "recipeCuisine": "Nordic",
    "aggregateRating": RATED,
}
RECIPE_PAGE = (
    "<h1>Pea soup with mint</h1><p>By Ida Berg</p><p>Soup, Nordic, 4 servings</p><li>500 g peas<li>1 onion<li>Chop it."
    "<li>Boil it.<p>Preparation 15 minutes, cooking time 30 minutes, total time 45 minutes</p>" + SHOWN_RATING
)
EVENT = {
    "@type": "MusicEvent",
    "name": "Night of the kettles",
    "startDate": "2030-05-01T20:00",
    "endDate": "2030-05-01T23:00",
    "eventStatus": "https://schema.org/EventScheduled",
    "description": f"{FIRST} And so on.",
    "location": {
        "@type": "Place",
        "name": "Old Hall",
        "address": {
            "@type": "PostalAddress",
            "streetAddress": "Havnegata 1",
            "addressLocality": "Bergen",
            "addressCountry": "Norway",
        },
    },
    "performer": [{"@type": "Person", "name": "Ida Berg"}, {"@type": "Person", "name": "Ola Vik"}],
    "organizer": {"@type": "Organization", "name": "Nordlys AS"},
    "offers": {"@type": "Offer", "price": "25", "priceCurrency": "EUR", "url": f"{URL}/tickets"},
}
EVENT_PAGE = (
    "<h1>Night of the kettles</h1><p>1 May 2030, 20:00 to 23:00</p><p>Old Hall, Havnegata 1, Bergen, Norway</p>"
    f"<p>{FIRST}</p><p>With Ida Berg and Ola Vik, by Nordlys AS</p><p>Tickets € 25</p>"
)
COMPANY = {
    "@type": "Organization",
    "name": "Nordlys AS",
    "legalName": "Nordlys Kjeler AS",
    "url": "https://nordlys.example/",
    "telephone": "+47 55 12 34 56",
    "email": "post@nordlys.example",
    "description": FIRST,
}
COMPANY_PAGE = f"<h1>Nordlys AS</h1><p>{FIRST}</p><p>Nordlys Kjeler AS, +47 55 12 34 56, post@nordlys.example</p>"


def read(name, html, thing):
    schema = compile_schema(named_schema(name))
    known = settled(known_values(clean(html + ld(thing), base_url=URL, data_from=SOURCES), schema), schema)
    return schema, known, missing(known, schema)


@pytest.mark.parametrize(
    ("name", "html", "thing"), [("recipe", RECIPE_PAGE, RECIPE), ("event", EVENT_PAGE, EVENT)], ids=["recipe", "event"]
)
def test_a_page_whose_data_says_all_is_answered_without_the_model(name, html, thing):
    schema, known, left = read(name, html, thing)
    assert left == []
    assert schema.validator.is_valid(merged(known, {}, schema))


@pytest.mark.parametrize("gone", ["cookTime", "aggregateRating", "recipeCuisine"])
def test_what_data_does_not_say_is_asked_even_where_it_may_be_left_out(gone):
    _, known, left = read("recipe", RECIPE_PAGE, {key: value for key, value in RECIPE.items() if key != gone})
    assert left
    assert known


def test_of_an_organisation_only_the_rest_is_asked():
    _, known, left = read("organisation", COMPANY_PAGE, COMPANY)
    assert known.values["/website"] == "https://nordlys.example/"
    assert known.values["/description"] == FIRST
    assert {"name", "legal_name", "telephone", "email"}.isdisjoint(left)
    assert "opening_hours" in left


def test_a_summary_is_the_models_own_work():
    article = {"@type": "NewsArticle", "headline": "Kettles are hot again", "description": FIRST}
    _, known, left = read("article", f"<h1>Kettles are hot again</h1><p>{FIRST}</p>", article)
    assert "summary" in left
    assert known.values["/headline"] == "Kettles are hot again"
