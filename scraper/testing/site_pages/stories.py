"""Articles, recipes, events, jobs and organisations of the simulated site."""

from __future__ import annotations

from datetime import date, timedelta

from scraper.testing.site_pages.page import Draft, SitePage, escape, rows

_FIRST_DAY = date(2019, 3, 1)


def article(number: int, base_url: str) -> SitePage:
    draft = Draft("article", number, base_url)
    draw, language = draft.random, draft.language
    headline = draw.choice(language.sentences).rstrip(".。")
    author, day = draw.choice(language.people), _day(draft)
    paragraphs = [draft.prose(draw.randrange(3, 9)) for _ in range(draw.randrange(6, 30))]
    if number % 3 == 0:
        draft.json_ld(
            {
                "@type": "NewsArticle",
                "headline": headline,
                "author": [{"@type": "Person", "name": author}],
                "datePublished": day.isoformat(),
            }
        )
    elif number % 3 == 1:
        draft.meta([("og:type", "article"), ("og:title", headline), ("article:published_time", day.isoformat())])
    draft.main.append(
        f"<article><h1>{escape(headline)}</h1><p class='byline'>{draft.label('author')} {escape(author)}</p>"
        f'<p><time datetime="{day.isoformat()}">{draft.label("published")}: {language.day(day)}</time></p>'
    )
    for index, text in enumerate(paragraphs):
        if index and index % 5 == 0:
            draft.main.append(f"<h2>{escape(draw.choice(language.things))}</h2>")
        draft.main.append(f"<p>{text}</p>")
    draft.main.append("</article>")
    truth = {"title": headline, "author": author, "date": day.isoformat(), "body": "\n".join(paragraphs)}
    return draft.finished(headline, truth)


def recipe(number: int, base_url: str) -> SitePage:
    draft = Draft("recipe", number, base_url)
    draw, language = draft.random, draft.language
    name = f"{draw.choice(language.qualities)}{language.space}№ {number}"
    servings, minutes = draw.randrange(1, 9), draw.randrange(2, 30) * 5
    ingredients = [
        f"{draw.randrange(1, 60) * 10} g {draw.choice(language.things).lower()} {letter}"
        for letter in "abcdefghij"[: draw.randrange(4, 11)]
    ]
    steps = [draft.prose(2) for _ in range(draw.randrange(3, 9))]
    if number % 2 == 0:
        draft.json_ld(
            {
                "@type": "Recipe",
                "name": name,
                "recipeIngredient": ingredients,
                "recipeYield": servings,
                "totalTime": f"PT{minutes}M",
            }
        )
    facts = [(draft.label("servings"), str(servings)), (draft.label("time"), f"{minutes} min")]
    draft.main += [
        f"<article><h1>{escape(name)}</h1>{draft.paragraphs(3)}{rows(facts, shape=number)}",
        f"<h2>{draft.label('ingredients')}</h2><ul>{''.join(f'<li>{one}</li>' for one in ingredients)}</ul>",
        f"<h2>{draft.label('steps')}</h2><ol>{''.join(f'<li>{one}</li>' for one in steps)}</ol></article>",
        draft.paragraphs(draw.randrange(3, 15)),
    ]
    truth = {"name": name, "servings": servings, "total_minutes": minutes, "ingredients": ingredients, "steps": steps}
    return draft.finished(name, truth)


def event(number: int, base_url: str) -> SitePage:
    draft = Draft("event", number, base_url)
    draw, language = draft.random, draft.language
    name = f"{draw.choice(language.things)}{language.space}{draw.choice(language.cities)} {number}"
    day, city, price = _day(draft), draw.choice(language.cities), float(draw.randrange(5, 90))
    host = draw.choice(language.people)
    if number % 3 == 0:
        place = {"@type": "Place", "name": city}
        draft.json_ld({"@type": "Event", "name": name, "startDate": day.isoformat(), "location": place})
    facts = [
        (draft.label("date"), language.day(day)),
        (draft.label("place"), city),
        (draft.label("organiser"), host),
        (draft.label("price"), language.price(price)),
    ]
    draft.main += [f"<h1>{escape(name)}</h1>{rows(facts, shape=number)}", draft.paragraphs(draw.randrange(4, 20))]
    truth = {"name": name, "date": day.isoformat(), "location": city, "organiser": host, "price": price}
    return draft.finished(name, {**truth, "currency": language.currency})


def job(number: int, base_url: str) -> SitePage:
    draft = Draft("job", number, base_url)
    draw, language = draft.random, draft.language
    title = f"{draw.choice(language.qualities)}{language.space}{draw.choice(language.things)} {number}"
    company, city, day = "Alder & Sons", draw.choice(language.cities), _day(draft)
    salary = float(draw.randrange(28, 95) * 1000)
    facts = [
        (draft.label("company"), company),
        (draft.label("place"), city),
        (draft.label("salary"), language.price(salary)),
        (draft.label("date"), language.day(day)),
    ]
    draft.main += [
        f"<h1>{escape(title)}</h1>{rows(facts, shape=number)}",
        draft.paragraphs(draw.randrange(4, 20)),
        f'<a class="button" href="/job/{number}/apply">{draft.label("apply")}</a>',
    ]
    truth = {"title": title, "company": company, "location": city, "salary": salary, "date": day.isoformat()}
    return draft.finished(title, {**truth, "currency": language.currency})


def organisation(number: int, base_url: str) -> SitePage:
    draft = Draft("organisation", number, base_url)
    draw, language = draft.random, draft.language
    name = f"{draw.choice(language.cities)}{language.space}{draw.choice(language.things)} {number}"
    phone, city = f"+{draw.randrange(10, 99)} 555 {draw.randrange(10_000, 99_999)}", draw.choice(language.cities)
    email = f"office{number}@example.com"
    facts = [(draft.label("phone"), phone), ("E-mail", email), (draft.label("address"), f"{city} {number % 90 + 1}")]
    draft.main += [f"<h1>{escape(name)}</h1>{rows(facts, shape=number)}", draft.paragraphs(draw.randrange(3, 15))]
    truth = {"name": name, "phone": phone, "email": email, "address": f"{city} {number % 90 + 1}"}
    return draft.finished(name, truth)


def _day(draft: Draft) -> date:
    return _FIRST_DAY + timedelta(days=draft.random.randrange(2_500))
