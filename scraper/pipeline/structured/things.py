"""The kinds of things that pages are about, as schema.org describes them, and what people call their properties."""

from __future__ import annotations

from typing import Final

from scraper.pipeline.structured.vocabulary import properties_of, says, thing

_PARTIAL = r"first|last|paragraphs?|sentences?|summar\w+|short|brief|own words|bullet\w*|html|markdown"
_NAME = says(
    "name", "text", "name", "title, full name, nom, nombre, titel", own=False, unless="without|short|first|last"
)
_URL = says("url", "address", "url @id", "link, canonical url, page url, web address", meta="og:url", own=False)
_IMAGE = says(
    "image",
    "address",
    "image.url image.contentUrl image",
    "image url, picture, photo, main image, thumbnail",
    own=False,
)
_IMAGES = says(
    "images", "address", "image.url image.contentUrl image", "image urls, pictures, photos, gallery", own=False
)
_DESCRIPTION = says("description", "prose", "description", "beschreibung, descripcion", own=False, unless=_PARTIAL)
_PARAGRAPH = says(
    "first paragraph", "paragraph", "description", "description, intro, introduction", own=False,
    only="(?:first|opening) paragraph", unless="own words|summar\\w+|html|markdown",
)  # fmt: skip
_LANGUAGE = says("language", "text", "inLanguage.alternateName inLanguage", "lang, content language", own=False)
_STEP = "itemListElement.name"
_BREADCRUMBS = says(
    "breadcrumbs", "text", _STEP, "breadcrumb, bread crumbs, breadcrumb trail, breadcrumb list", own=False,
    trail="breadcrumbs",
)  # fmt: skip
_CATEGORIES = says(
    "categories", "text", _STEP, "category path, category tree, category hierarchy", own=False,
    unless="tags?|all|every", trail="categories",
)  # fmt: skip
_RATING = says(
    "rating", "amount", "aggregateRating.ratingValue", "rating value, average rating, stars, review rating, score",
    unless="percent|percentage|out of 10|critics?",
)  # fmt: skip
_REVIEWS = says(
    "review count",
    "count",
    "aggregateRating.reviewCount aggregateRating.ratingCount",
    "reviews count, number of reviews, num reviews, rating count, ratings count, number of ratings, reviewcount",
)
_RATED = says("aggregate rating", "thing", "aggregateRating", "rating, ratings", of="rating", own=False)

_PRODUCT: Final = thing(
    "product",
    "Product ProductGroup ProductModel IndividualProduct SomeProducts Vehicle Car Motorcycle Book Game VideoGame "
    "SoftwareApplication",
    "product item offer article produkt producto produit",
    (
        says("name", "text", "name", "title, nom, nombre, titel, bezeichnung", meta="og:title", own=False,
           unless="without|short|first|last"),
        says("brand", "text", "brand.name brand", "brand name, marke, marque, marca", meta="product:brand og:brand",
           state="brand.name brand.title brandName brand", unless="logo|url"),
        says("manufacturer", "text", "manufacturer.name manufacturer", "maker, hersteller"),
        says("sku", "code", "sku offers.sku productID", "article number, item number, product code, stock keeping unit, artikelnummer",
           meta="product:retailer_item_id product:sku", state="sku"),
        says("mpn", "code", "mpn offers.mpn", "manufacturer part number, part number, manufacturer number",
           meta="product:mfr_part_no", state="mpn"),
        says("gtin", "code", "gtin13 gtin gtin14 gtin12 gtin8 isbn offers.gtin13 offers.gtin offers.gtin12 offers.gtin8",
           "gtin13, gtin14, gtin12, gtin8, ean, ean13, upc, barcode, isbn, isbn13", meta="product:ean product:upc",
           state="gtin13 gtin ean upc"),
        says("price", "amount", "offers.price price",
           "current price, sale price, selling price, final price, offer price, price amount, price value, preis, prix, "
           "precio, prezzo, cena", meta="product:sale_price:amount product:price:amount og:price:amount",
           state="price.value price.amount price.current price.sellingPrice price.price price currentPrice salePrice "
           "finalPrice sellingPrice priceAmount",
           unless=r"per|unit|cents?|net|excluding|before|old|original|regular|list|msrp|rrp|was|monthly|rent|deposit|"
           r"minimum|maximum|lowest|highest|range|shipping|delivery|with (?:the |its )?currency|including (?:the )?currency|"
           r"currency (?:sign|symbol)"),
        says("list price", "amount", "offers.listPrice",
           "regular price, original price, old price, was price, price before, msrp, rrp, strikethrough price",
           meta="product:original_price:amount", unless="per|unit|cents?|net"),
        says("currency", "currency", "offers.priceCurrency priceCurrency", "price currency, currency code, waehrung, devise",
           meta="product:sale_price:currency product:price:currency og:price:currency",
           state="price.currency currency priceCurrency currencyCode", unless="sign only|symbol only"),
        says("availability", "state", "offers.availability availability",
           "in stock, is in stock, available, is available, stock status, stock, availability status, verfuegbarkeit",
           meta="product:availability og:availability", unless="stores?|quantity|number|how many|date|days"),
        says("condition", "state", "offers.itemCondition itemCondition", "item condition, product condition",
           meta="product:condition"),
        says("category", "text", "category.name category", "product category, kategorie", meta="product:category"),
        says("color", "text", "color", "colour, farbe, couleur", meta="product:color"),
        says("size", "text", "size.name size", meta="product:size"),
        says("material", "text", "material.name material", "fabric", meta="product:material"),
        says("model", "text", "model.name model", "model name, model number"),
        says("seller", "text", "offers.seller.name", "seller name, vendor, merchant, sold by"),
        says("price valid until", "date", "offers.priceValidUntil"),
        says("offers", "thing", "offers", "offer, pricing, price info", of="offer"),
        says("brand object", "thing", "brand", "brand", of="organization", own=False),
        _DESCRIPTION, _PARAGRAPH, _URL, _IMAGE, _IMAGES, _RATING, _REVIEWS, _RATED, _BREADCRUMBS, _CATEGORIES,
    ),
    social="product product.item og:product",
)  # fmt: skip

_OFFER: Final = thing(
    "offer",
    "Offer AggregateOffer",
    "offer price",
    (
        says("price", "amount", "price", "amount, value, current, current price"),
        says("currency", "currency", "priceCurrency", "price currency, currency code"),
        says("availability", "state", "availability", "in stock, is available, stock status, available"),
        says("condition", "state", "itemCondition", "item condition"),
        says("seller", "text", "seller.name", "seller name, vendor, merchant"),
        says("sku", "code", "sku"),
        says("price valid until", "date", "priceValidUntil", "valid until"),
        _URL,
    ),
)

_RATING_THING: Final = thing(
    "rating",
    "AggregateRating Rating",
    "rating",
    (
        says("value", "amount", "ratingValue", "rating, rating value, average, score, stars"),
        says(
            "count", "count", "reviewCount ratingCount", "review count, rating count, number of reviews, reviews, total"
        ),
        says("best", "amount", "bestRating", "best rating, max, maximum, out of"),
        says("worst", "amount", "worstRating", "worst rating, min, minimum"),
    ),
)

_AUTHOR = "author.name author creator.name creator"
_ARTICLE: Final = thing(
    "article",
    "Article NewsArticle BlogPosting Report TechArticle ScholarlyArticle SocialMediaPosting ReportageNewsArticle "
    "AnalysisNewsArticle OpinionNewsArticle BackgroundNewsArticle ReviewNewsArticle AdvertiserContentArticle "
    "LiveBlogPosting DiscussionForumPosting MedicalScholarlyArticle",
    "article news post blog story blogpost artikel",
    (
        says("headline", "text", "headline name", "title, name, heading, titel", meta="og:title", own=False, unless="sub|short"),
        says("subtitle", "text", "alternativeHeadline", "subheadline, sub title, alternative headline, deck, standfirst"),
        says("authors", "text", _AUTHOR, "author names", meta="article:author author", unless="e-?mail|url|profile"),
        says("author", "text", _AUTHOR, "author name, byline, writer, written by, autor", meta="article:author author",
           unless="e-?mail|url|profile"),
        says("author object", "thing", "author", "author, authors", of="organization", own=False),
        says("published", "date", "datePublished",
           "date published, published at, published date, publication date, publish date, publishing date, date, "
           "pub date, published time, published on", meta="article:published_time"),
        says("modified", "date", "dateModified",
           "date modified, modified at, updated, updated at, last updated, last modified, date updated, modified date",
           meta="article:modified_time"),
        says("section", "text", "articleSection", "category, department, rubric, article section", meta="article:section"),
        says("body", "prose", "articleBody", "article body, text, content, full text, body text", unless=_PARTIAL),
        says("keywords", "words", "keywords", "tags, key words, topics", own=False),
        says("publisher", "text", "publisher.name publisher", "publication, site, site name, source, newspaper",
           meta="og:site_name"),
        says("publisher object", "thing", "publisher", "publisher", of="organization", own=False),
        says("word count", "count", "wordCount", "words"),
        says("description", "prose", "description", "abstract, teaser, excerpt", own=False, unless=_PARTIAL),
        _LANGUAGE, _URL, _IMAGE, _IMAGES, _BREADCRUMBS, _CATEGORIES,
    ),
    social="article",
)  # fmt: skip

_RECIPE: Final = thing(
    "recipe",
    "Recipe",
    "recipe dish rezept",
    (
        _NAME, _URL, _IMAGE, _IMAGES, _DESCRIPTION, _RATING, _REVIEWS, _RATED, _LANGUAGE, _BREADCRUMBS,
        says("author", "text", _AUTHOR, "author name, chef, cook, by"),
        says("ingredients", "text", "recipeIngredient ingredients", "ingredient list, ingredient, recipe ingredient, zutaten"),
        says("instructions", "text", "recipeInstructions.text recipeInstructions.itemListElement.text recipeInstructions",
           "steps, directions, method, preparation, recipe instructions, zubereitung"),
        says("prep time", "duration", "prepTime", "preparation time, prep minutes, prep time minutes, preparation minutes"),
        says("cook time", "duration", "cookTime", "cooking time, cook minutes, cook time minutes, cooking minutes"),
        says("total time", "duration", "totalTime", "total minutes, total time minutes, time, duration"),
        says("servings", "text", "recipeYield yield", "yield, yields, serves, portions, recipe yield, number of servings"),
        says("category", "text", "recipeCategory", "course, meal type, recipe category"),
        says("cuisine", "text", "recipeCuisine", "kitchen, recipe cuisine"),
        says("calories", "text", "nutrition.calories", "energy, kcal", unless="number"),
        says("keywords", "words", "keywords", "tags", own=False),
        says("published", "date", "datePublished", "date published, published date", meta="article:published_time", own=False),
    ),
)  # fmt: skip

_PLACE = "location.address"
_EVENT: Final = thing(
    "event",
    "Event MusicEvent SportsEvent TheaterEvent DanceEvent ComedyEvent BusinessEvent EducationEvent ExhibitionEvent "
    "Festival FoodEvent LiteraryEvent SaleEvent ScreeningEvent SocialEvent VisualArtsEvent ChildrensEvent CourseInstance "
    "Hackathon DeliveryEvent PublicationEvent EventSeries ConferenceEvent",
    "event concert show veranstaltung",
    (
        _NAME, _URL, _IMAGE, _IMAGES, _DESCRIPTION, _PARAGRAPH,
        says("start", "date", "startDate", "start date, starts, starts at, start time, begins, begin, date, start datetime"),
        says("end", "date", "endDate", "end date, ends, ends at, end time, end datetime"),
        says("door time", "date", "doorTime", "doors, doors open"),
        says("venue", "text", "location.name", "location name, venue name, place, location, where"),
        says("address", "text", f"{_PLACE}.streetAddress {_PLACE}", "street, street address, venue address"),
        says("address object", "thing", _PLACE, "address, venue address", of="address", own=False),
        says("city", "text", f"{_PLACE}.addressLocality", "town, locality"),
        says("country", "text", f"{_PLACE}.addressCountry.name {_PLACE}.addressCountry"),
        says("postal code", "text", f"{_PLACE}.postalCode", "zip, zip code, postcode", own=False),
        says("performers", "text", "performer.name performer", "performer, artists, artist, speakers, speaker, line up"),
        says("organizer", "text", "organizer.name organizer", "organiser, host, organised by, organized by"),
        says("price", "amount", "offers.price", "ticket price", unless="from|range|lowest|cents?|minimum"),
        says("currency", "currency", "offers.priceCurrency", "price currency"),
        says("status", "state", "eventStatus", "event status"),
        says("attendance mode", "state", "eventAttendanceMode", "event attendance mode, mode"),
        says("ticket url", "address", "offers.url", "tickets, tickets url, booking url"),
    ),
)  # fmt: skip

_JOB: Final = thing(
    "job posting",
    "JobPosting",
    "job posting vacancy position career",
    (
        says("title", "text", "title name", "job title, name, position, role", own=False),
        says("company", "text", "hiringOrganization.name hiringOrganization",
           "company name, employer, hiring organization, hiring organisation, organisation, organization"),
        says("company object", "thing", "hiringOrganization", "company, employer, organization", of="organization", own=False),
        says("employment type", "text", "employmentType", "job type, contract type, type, contract"),
        says("posted", "date", "datePosted", "date posted, posted at, posted date, published, date published, posted on"),
        says("valid through", "date", "validThrough", "expires, deadline, closing date, valid until, apply by, expires at"),
        says("city", "text", "jobLocation.address.addressLocality", "location, town, job location"),
        says("region", "text", "jobLocation.address.addressRegion", "state, province", own=False),
        says("country", "text", "jobLocation.address.addressCountry.name jobLocation.address.addressCountry"),
        says("address object", "thing", "jobLocation.address", "location, address, job location", of="address", own=False),
        says("salary min", "amount", "baseSalary.value.minValue baseSalary.minValue",
           "minimum salary, min salary, salary from, salary minimum", unless="hour|month|week|day"),
        says("salary max", "amount", "baseSalary.value.maxValue baseSalary.maxValue",
           "maximum salary, max salary, salary to, salary maximum", unless="hour|month|week|day"),
        says("salary currency", "currency", "baseSalary.currency salaryCurrency", "currency"),
        says("salary period", "state", "baseSalary.value.unitText", "salary unit, pay period, period"),
        says("reference", "code", "identifier.value identifier", "job id, reference number, identifier, requisition"),
        says("industry", "text", "industry"),
        says("remote", "state", "jobLocationType", "is remote, job location type, telecommute"),
        _DESCRIPTION, _URL,
    ),
)  # fmt: skip

_ORGANIZATION: Final = thing(
    "organization",
    "Organization Organisation Corporation LocalBusiness NGO NewsMediaOrganization EducationalOrganization "
    "GovernmentOrganization Restaurant Store Hotel LodgingBusiness FoodEstablishment CafeOrCoffeeShop BarOrPub Bakery "
    "MedicalBusiness Dentist Physician Hospital Pharmacy LegalService Attorney FinancialService InsuranceAgency "
    "RealEstateAgent AutoDealer AutoRepair HomeAndConstructionBusiness ProfessionalService HealthAndBeautyBusiness "
    "SportsActivityLocation EntertainmentBusiness OnlineStore OnlineBusiness Library CollegeOrUniversity School Person Brand",
    "organization organisation company business firm unternehmen person author brand publisher employer",
    (
        _NAME, _URL, _DESCRIPTION, _PARAGRAPH,
        says("website", "address", "url", "web site, homepage, home page, own site, company website", own=False),
        says("legal name", "text", "legalName", "registered name", own=False),
        says("telephone", "text", "telephone contactPoint.telephone", "phone, phone number, tel, telephone number", own=False),
        says("email", "text", "email contactPoint.email", "e mail, mail, email address", own=False),
        says("fax", "text", "faxNumber", "fax number", own=False),
        says("logo", "address", "logo.url logo.contentUrl logo", "logo url", own=False),
        says("street", "text", "address.streetAddress", "street address", own=False),
        says("city", "text", "address.addressLocality", "town, locality", own=False),
        says("region", "text", "address.addressRegion", "state, province", own=False),
        says("postal code", "text", "address.postalCode", "zip, zip code, postcode, plz", own=False),
        says("country", "text", "address.addressCountry.name address.addressCountry", own=False),
        says("address object", "thing", "address", "address, location", of="address", own=False),
        says("vat id", "code", "vatID taxID", "vat, tax id, vat number", own=False),
        says("founded", "date", "foundingDate", "founding date, year founded", own=False),
        says("same as", "address", "sameAs", "social profiles, social links, social media, profiles", own=False),
        says("opening hours", "text", "openingHours", "hours", own=False),
        says("employees", "count", "numberOfEmployees.value numberOfEmployees", "number of employees", own=False),
    ),
)  # fmt: skip

_ADDRESS: Final = thing(
    "address",
    "PostalAddress",
    "address",
    (
        says("street", "text", "streetAddress", "street address, address line, line 1, address"),
        says("city", "text", "addressLocality", "town, locality"),
        says("region", "text", "addressRegion", "state, province, county"),
        says("postal code", "text", "postalCode", "zip, zip code, postcode, plz"),
        says("country", "text", "addressCountry.name addressCountry", "country code"),
    ),
)

_ENTRY: Final = thing(
    "entry",
    "ListItem",
    "entry item result product article offer listing post",
    (
        says("name", "text", "name headline title", "title, headline", own=False, unless="without|short|first|last"),
        says("url", "address", "url @id", "link, web address, href", own=False),
        says("summary", "prose", "description", "teaser, snippet, excerpt, description, abstract", own=False,
           unless="own words|html|markdown"),
        *properties_of(_PRODUCT), *properties_of(_ARTICLE),
    ),
)  # fmt: skip

LISTING: Final = thing(
    "listing",
    "ItemList",
    "listing listings list results search category catalogue catalog index overview collection",
    (
        says("entries", "thing", "itemListElement",
           "items, results, hits, list, listings, elements, products, articles, posts, news, events, jobs, vacancies, "
           "recipes, search results, product list, item list", of="entry"),
    ),
)  # fmt: skip

ONE_THING: Final = (_PRODUCT, _ARTICLE, _RECIPE, _EVENT, _JOB)
SUBJECTS: Final = (*ONE_THING, _ORGANIZATION, LISTING)
"""What a page can be about."""

THINGS: Final = {each.name: each for each in (*SUBJECTS, _OFFER, _RATING_THING, _ADDRESS, _ENTRY)}
