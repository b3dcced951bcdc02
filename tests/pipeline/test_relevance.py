import time

from scraper.pipeline.relevance import scores, wanted

SCHEMA = {
    "type": "object",
    "properties": {
        "stockLevel": {"type": "integer", "description": "How many can be delivered at once."},
        "regular_price": {"type": "number"},
        "availability": {"enum": ["In stock", "Backordered"]},
    },
}


def ranked(*lines, schema=SCHEMA, instructions=""):
    found = scores(lines, wanted(schema, instructions))
    return [line for _, line in sorted(zip(found, lines, strict=True), key=lambda each: -each[0])]


def test_names_are_found_by_their_words_and_in_other_forms():
    assert ranked("Stock: 7", "Available", "About us")[-1] == "About us"


def test_a_price_is_known_by_its_looks_in_any_language():
    assert ranked("Preis 1.299,00 €", "Wir sind für Sie da")[0] == "Preis 1.299,00 €"
    assert ranked("お問い合わせ", "本体 12,800円")[0] == "本体 12,800円"


def test_a_word_that_many_lines_hold_says_little():
    noise = [f"stock photo {n}" for n in range(50)]
    assert ranked(*noise, "availability unknown")[0] == "availability unknown"


def test_names_say_more_than_descriptions_and_short_lines_more_than_long_ones():
    assert ranked("delivered by van", "stock 3")[0] == "stock 3"
    assert ranked("stock " + "and many other words " * 40, "stock 3")[0] == "stock 3"


def test_instructions_say_what_is_wanted_too():
    assert ranked("Voltage 230", "Colour blue", schema={"type": "object"}, instructions="the voltage") == [
        "Voltage 230",
        "Colour blue",
    ]


def test_a_schema_without_words_asks_for_nothing():
    assert scores(["a", "b"], wanted({"type": "object"})) == [0.0, 0.0]


def test_a_huge_schema_and_a_huge_line_are_looked_at_in_part():
    schema = {"type": "object", "properties": {f"word{chr(97 + n % 26)}{n}": {} for n in range(5000)}}
    assert len(scores(["worda " * 100_000], wanted(schema))) == 1


def test_an_address_of_mail_is_known_by_its_looks():
    schema = {"type": "object", "properties": {"email": {"type": "string"}}}
    assert ranked("Write to us", "info@e.example", "me @ home", schema=schema)[0] == "info@e.example"


def test_a_line_that_could_begin_an_address_everywhere_takes_no_longer_than_others():
    sought = wanted({"type": "object", "properties": {"email": {"type": "string"}}})

    def seconds(line):
        def once():
            began = time.process_time()
            scores([line] * 50, sought)
            return time.process_time() - began

        return min(once() for _ in range(5))

    assert seconds("a" * 2000) < 20 * seconds("a " * 1000)
