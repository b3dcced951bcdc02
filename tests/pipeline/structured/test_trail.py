import pytest

from tests.pipeline.structured.test_known import NAME, PRODUCT, TEXT, ld, values

SCHEMA = {
    "title": "Product",
    "type": "object",
    "properties": {
        "breadcrumbs": {"type": "array", "items": {"type": "string"}},
        "category_path": {"type": "array", "items": {"type": "string"}},
    },
}
ROOT = "https://shop.example"
SHOWN = f"<p>Home / Kitchen / Kettles / {NAME}</p>{TEXT}"


def step(number, name, url=""):
    return {"@type": "ListItem", "position": number, "name": name} | ({"item": url} if url else {})


def trail(*steps):
    return {"@type": "BreadcrumbList", "itemListElement": list(steps)}


START, KITCHEN, KETTLES = step(1, "Home", ROOT), step(2, "Kitchen", f"{ROOT}/c/7"), step(3, "Kettles", f"{ROOT}/c/8")
ITSELF = step(4, NAME, f"{ROOT}/p/nordlys-kettle-4711")
WHOLE = trail(START, KITCHEN, KETTLES, ITSELF)


def test_the_way_to_a_page_is_read_whole_and_as_its_categories():
    assert values(SHOWN + ld(PRODUCT, WHOLE), SCHEMA) == {
        "breadcrumbs": ["Home", "Kitchen", "Kettles", NAME],
        "category_path": ["Kitchen", "Kettles"],
    }


@pytest.mark.parametrize("name", ["Home", "Startseite", "Example", "Our shop"])
def test_the_start_of_the_site_is_no_category(name):
    first = step(1, name, ROOT if name == "Our shop" else "")
    html = SHOWN.replace("Home", name) + ld(PRODUCT, trail(first, KITCHEN, KETTLES))
    assert values(html, SCHEMA, url="https://www.example.org/p/4711")["category_path"] == ["Kitchen", "Kettles"]


@pytest.mark.parametrize(
    "last", [step(3, NAME), step(3, "Details"), step(3, "This one", ROOT + "/p/nordlys-kettle-4711")]
)
def test_the_page_itself_is_no_category(last):
    html = f"<p>{last['name']}</p>{SHOWN}{ld(PRODUCT, trail(START, KITCHEN, last))}"
    assert values(html, SCHEMA)["category_path"] == ["Kitchen"]


def test_a_last_step_that_may_be_the_page_or_a_category_leaves_the_categories_to_the_model():
    long_name = f"{NAME} of steel with a whistle and a lid of oak that nobody else has"
    html = f"<h1>{long_name}</h1>{SHOWN}".replace(TEXT, "") + ld(PRODUCT | {"name": long_name})
    found = values(html + ld(trail(START, KITCHEN, step(3, "Nordlys kettle 2 l", f"{ROOT}/c/9"))), SCHEMA)
    assert found == {"breadcrumbs": ["Home", "Kitchen", NAME]}


def test_names_may_stand_inside_of_what_the_steps_lead_to():
    inside = [
        {"@type": "ListItem", "position": number, "item": {"@id": f"{ROOT}/c/{number}", "name": name}}
        for number, name in enumerate(["Kitchen", "Kettles"], 1)
    ]
    assert values(SHOWN + ld(PRODUCT, trail(*inside)), SCHEMA)["breadcrumbs"] == ["Kitchen", "Kettles"]


def test_a_way_that_the_page_calls_its_own_is_read_from_there():
    page = {"@type": "WebPage", "breadcrumb": WHOLE}
    assert values(SHOWN + ld(PRODUCT, page), SCHEMA)["category_path"] == ["Kitchen", "Kettles"]


def test_a_way_in_microdata_is_read_as_well():
    steps = "".join(
        f'<li itemprop="itemListElement" itemscope itemtype="https://schema.org/ListItem"><a itemprop="item" '
        f'href="{url}"><span itemprop="name">{name}</span></a><meta itemprop="position" content="{number}"></li>'
        for number, (name, url) in enumerate([("Home", "/"), ("Kitchen", "/c/7"), ("Kettles", "/c/8")], 1)
    )
    html = f'<ol itemscope itemtype="https://schema.org/BreadcrumbList">{steps}</ol>{TEXT}{ld(PRODUCT)}'
    assert values(html, SCHEMA)["category_path"] == ["Kitchen", "Kettles"]


@pytest.mark.parametrize(
    "things",
    [
        [trail(START, KITCHEN, KETTLES), trail(START, step(2, "Kettles", ROOT + "/c/8"), step(3, NAME))],
        [trail(START, KETTLES, KITCHEN)],
        [trail(START, step(2, "", ROOT + "/c/7"), KETTLES)],
        [trail(START, step(2, "Sauna", ROOT + "/c/9"), KETTLES)],
        [trail(KITCHEN)],
        [{"@type": "BreadcrumbList", "itemListElement": "Home"}],
    ],
    ids=["two ways", "out of order", "no name", "not shown", "a single step", "no list"],
)
def test_a_way_that_is_not_certain_is_left_to_the_model(things):
    assert values(SHOWN + ld(PRODUCT, *things), SCHEMA) == {}


def test_ways_that_contradict_each_other_are_left_to_the_model():
    meant = '<p itemscope itemtype="https://schema.org/BreadcrumbList">'
    for number, name in enumerate(["Home", "Kettles"], 1):
        meant += (
            f'<b itemprop="itemListElement" itemscope itemtype="https://schema.org/ListItem"><i itemprop="name">{name}'
            f'</i><meta itemprop="position" content="{number}"></b>'
        )
    assert values(f"{meant}</p>{SHOWN}{ld(PRODUCT, WHOLE)}", SCHEMA) == {}


def test_how_several_names_become_one_text_nobody_knows():
    schema = {"title": "Product", "type": "object", "properties": {"breadcrumbs": {"type": "string"}}}
    assert values(SHOWN + ld(PRODUCT, WHOLE), schema) == {}
