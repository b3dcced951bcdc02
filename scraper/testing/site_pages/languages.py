"""The words of the simulated site in six languages. Invented text; any likeness is chance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Language:
    """How a site of this language speaks, counts money and writes dates."""

    code: str
    currency: str
    charset: str  # an older encoding that sites of this language were made in
    price_format: str  # of `{whole}` and `{cents}`
    thousands: str
    date_format: str
    months: str  # twelve words
    labels: dict[str, str]
    things: tuple[str, ...]
    qualities: tuple[str, ...]
    sentences: tuple[str, ...]
    cities: tuple[str, ...]
    people: tuple[str, ...]
    space: str = " "

    def price(self, amount: float) -> str:
        whole, cents = f"{amount:.2f}".split(".")
        grouped = f"{int(whole):,}".replace(",", self.thousands)
        return self.price_format.format(whole=grouped, cents=cents)

    def day(self, when: date) -> str:
        return self.date_format.format(
            day=when.day, month=self.months.split()[when.month - 1], year=when.year, number=when.month
        )


_KEYS = (
    "price", "was", "sku", "brand", "availability", "in_stock", "out_of_stock", "reviews", "related", "description",
    "specs", "weight", "colour", "author", "published", "ingredients", "steps", "time", "servings", "place", "date",
    "organiser", "company", "salary", "contract", "apply", "home", "basket", "imprint", "search", "phone", "address",
)  # fmt: skip


def _labels(line: str) -> dict[str, str]:
    return dict(zip(_KEYS, line.split("|"), strict=True))


_EN_LABELS = _labels(
    "Price|Was|SKU|Brand|Availability|In stock|Out of stock|Reviews|You may also like|Description|Details|Weight|"
    "Colour|By|Published|Ingredients|Method|Total time|Servings|Place|Date|Organiser|Company|Salary|Contract|"
    "Apply now|Home|Basket|Imprint|Search|Phone|Address"
)
_EN_MONTHS = "January February March April May June July August September October November December"
_EN_SENTENCES = (
    "The first morning with it was quieter than we expected.",
    "Every joint is glued twice and left to dry for a night before it is sanded.",
    "People who keep it near a window say the colour hardly fades over the years.",
    "We measured it three times, because nobody believed the first result.",
    "A small cloth is all you need to keep it clean for a long while.",
    "It was drawn on the back of an envelope during a train ride along the coast.",
    "The workshop closes at four in winter, when the light is gone.",
    "What surprised our testers most was how little it asks of you.",
    "Spare parts are kept for fifteen years, and the drawings are public.",
    "Not everybody will need one, and we say so to whoever asks.",
    "The council discussed the matter for two evenings and then for a third.",
    "Nobody in the village remembers a summer with so little rain.",
)
_EN_THINGS = (
    "Kettle",
    "Desk Lamp",
    "Oak Stool",
    "Rain Jacket",
    "Bread Knife",
    "Field Notebook",
    "Garden Chair",
    "Thermos",
)
_EN_QUALITIES = ("Northern", "Quiet", "Harbour", "Classic", "Compact", "Evening", "Alder", "Two-Tone")
_EN_PEOPLE = ("Maud Ferrier", "Ansel Whitcombe", "Priya Nandakumar", "Tobias Keel", "Rosalind Achebe")

LANGUAGES = (
    Language(
        "en", "USD", "windows-1252", "${whole}.{cents}", ",", "{month} {day}, {year}", _EN_MONTHS, _EN_LABELS,
        _EN_THINGS, _EN_QUALITIES, _EN_SENTENCES, ("Port Alder", "Greyfield", "Millhaven"), _EN_PEOPLE,
    ),
    Language(
        "de", "EUR", "windows-1252", "{whole},{cents} €", ".", "{day}. {month} {year}",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        _labels(
            "Preis|Statt|Artikelnummer|Marke|Verfügbarkeit|Auf Lager|Nicht auf Lager|Bewertungen|Das könnte Ihnen auch "
            "gefallen|Beschreibung|Einzelheiten|Gewicht|Farbe|Von|Veröffentlicht|Zutaten|Zubereitung|Gesamtzeit|"
            "Portionen|Ort|Datum|Veranstalter|Firma|Gehalt|Vertrag|Jetzt bewerben|Start|Warenkorb|Impressum|Suche|"
            "Telefon|Anschrift"
        ),
        ("Wasserkocher", "Schreibtischlampe", "Eichenhocker", "Regenjacke", "Brotmesser", "Gartenstuhl", "Brühgefäß"),
        ("Nordisch", "Leise", "Gemütlich", "Schlicht", "Übergroß", "Klassisch"),
        (
            "Der erste Morgen damit war stiller, als wir erwartet hatten.",
            "Jede Fuge wird zweimal geleimt und trocknet über Nacht, bevor sie geschliffen wird.",
            "Wer sie ans Fenster stellt, sieht auch nach Jahren kaum, dass die Farbe blasser wird.",
            "Wir haben dreimal gemessen, weil niemand dem ersten Ergebnis glauben wollte.",
            "Ein kleines Tuch genügt, um sie lange sauber zu halten.",
            "Die Werkstatt schließt im Winter um vier, wenn das Licht fort ist.",
            "Ersatzteile halten wir fünfzehn Jahre vor, und die Zeichnungen sind öffentlich.",
            "Nicht jeder braucht so etwas, und das sagen wir auch allen, die fragen.",
            "Der Gemeinderat sprach zwei Abende lang darüber und dann noch einen dritten.",
        ),
        ("Krähenwinkel", "Süderhafen", "Tannbrück"),
        ("Änne Großkreutz", "Jürgen Vößing", "Käthe Lindström"),
    ),
    Language(
        "fr", "EUR", "iso-8859-15", "{whole},{cents} €", "\u00a0", "{day} {month} {year}",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        _labels(
            "Prix|Avant|Référence|Marque|Disponibilité|En stock|Rupture de stock|Avis|Vous aimerez aussi|Description|"
            "Détails|Poids|Couleur|Par|Publié le|Ingrédients|Préparation|Temps total|Portions|Lieu|Date|Organisateur|"
            "Entreprise|Salaire|Contrat|Postuler|Accueil|Panier|Mentions légales|Recherche|Téléphone|Adresse"
        ),
        ("Bouilloire", "Lampe de bureau", "Tabouret en chêne", "Veste de pluie", "Couteau à pain", "Chaise d'été"),
        ("Nordique", "Discrète", "Légère", "Côtière", "Première", "Ancienne"),
        (
            "Le premier matin fut plus calme que nous ne l'avions espéré.",
            "Chaque joint est collé deux fois, puis sèche toute une nuit avant d'être poncé.",
            "Posée près d'une fenêtre, elle garde sa couleur pendant des années.",
            "Nous avons mesuré trois fois, car personne ne croyait au premier résultat.",
            "Un petit chiffon suffit pour la garder propre longtemps.",
            "En hiver, l'atelier ferme à quatre heures, quand la lumière s'en va.",
            "Les pièces détachées sont gardées quinze ans et les plans sont publics.",
            "Tout le monde n'en a pas besoin, et nous le disons à qui le demande.",
        ),
        ("Saint-Élan", "Port-aux-Chênes", "Vallerême"),
        ("Hélène Brûlé", "Gaëtan Façonnet", "Zoé Lacœur"),
    ),
    Language(
        "es", "EUR", "windows-1252", "{whole},{cents} €", ".", "{day} de {month} de {year}",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
        _labels(
            "Precio|Antes|Ref|Marca|Disponibilidad|En stock|Agotado|Opiniones|También te puede gustar|Descripción|"
            "Detalles|Peso|Color|Por|Publicado|Ingredientes|Preparación|Tiempo total|Raciones|Lugar|Fecha|Organiza|"
            "Empresa|Salario|Contrato|Solicitar|Inicio|Cesta|Aviso legal|Buscar|Teléfono|Dirección"
        ),
        ("Hervidor", "Lámpara", "Taburete de roble", "Chaqueta de lluvia", "Cuchillo de pan", "Silla de jardín"),
        ("Norteño", "Tranquilo", "Señorial", "Clásico", "Pequeño", "Azul añil"),
        (
            "La primera mañana con él fue más tranquila de lo que esperábamos.",
            "Cada junta se encola dos veces y se deja secar toda la noche antes de lijarla.",
            "Quien lo pone junto a la ventana dice que el color apenas pierde con los años.",
            "Lo medimos tres veces, porque nadie creía el primer resultado.",
            "Basta un paño pequeño para mantenerlo limpio mucho tiempo.",
            "En invierno el taller cierra a las cuatro, cuando ya no hay luz.",
            "Guardamos piezas de repuesto durante quince años y los planos son públicos.",
            "No todo el mundo lo necesita, y así se lo decimos a quien pregunta.",
        ),
        ("Peñalara del Mar", "Villaclara", "Monteagüe"),
        ("Íñigo Peñarrubia", "Begoña Castañeda", "Raúl Ibáñez"),
    ),
    Language(
        "pl", "PLN", "iso-8859-2", "{whole},{cents} zł", "\u00a0", "{day} {month} {year}",
        "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia",
        _labels(
            "Cena|Poprzednio|Indeks|Marka|Dostępność|Dostępny|Niedostępny|Opinie|Zobacz też|Opis|Szczegóły|Waga|Kolor|"
            "Autor|Opublikowano|Składniki|Przygotowanie|Łączny czas|Porcje|Miejsce|Data|Organizator|Firma|"
            "Wynagrodzenie|Umowa|Aplikuj|Start|Koszyk|Informacje|Szukaj|Telefon|Adres"
        ),
        ("Czajnik", "Lampka biurkowa", "Stołek dębowy", "Kurtka przeciwdeszczowa", "Nóż do chleba", "Krzesło ogrodowe"),
        ("Północny", "Cichy", "Żaglowy", "Klasyczny", "Błękitny", "Mały"),
        (
            "Pierwszy poranek z nim był cichszy, niż się spodziewaliśmy.",
            "Każde złącze kleimy dwa razy i zostawiamy na noc, zanim je oszlifujemy.",
            "Kto trzyma go przy oknie, mówi, że kolor prawie nie blaknie.",
            "Mierzyliśmy trzy razy, bo nikt nie wierzył w pierwszy wynik.",
            "Wystarczy mała ściereczka, żeby długo był czysty.",
            "Zimą warsztat zamyka się o czwartej, kiedy gaśnie światło.",
            "Części zamienne trzymamy piętnaście lat, a rysunki są jawne.",
        ),
        ("Żabieniec", "Łęgowo", "Świerkowa Góra"),
        ("Łucja Źródlak", "Bożena Ćwik", "Wójcik Małgorzata"),
    ),
    Language(
        "ja", "JPY", "shift_jis", "{whole}円", ",", "{year}年{number}月{day}日",
        "1 2 3 4 5 6 7 8 9 10 11 12",
        _labels(
            "価格|以前|品番|ブランド|在庫|在庫あり|在庫なし|レビュー|こちらもおすすめ|商品説明|仕様|重量|色|著者|公開日|材料|"
            "作り方|所要時間|人数|場所|日付|主催|会社名|給与|雇用形態|応募する|ホーム|カート|会社概要|検索|電話|住所"
        ),
        ("湯沸かしケトル", "卓上ランプ", "木の丸椅子", "雨の日の上着", "パン切り包丁", "庭の椅子"),
        ("北の", "静かな", "小さな", "港町の", "夕暮れの", "懐かしい"),
        (
            "初めて使った朝は、思っていたよりもずっと静かでした。",
            "継ぎ目は二度のり付けし、一晩乾かしてから磨きます。",
            "窓のそばに置いても、色は何年もほとんど変わりません。",
            "最初の結果を誰も信じなかったので、三回測りました。",
            "小さな布で拭くだけで、長くきれいに使えます。",
            "冬の工房は、光がなくなる四時に閉まります。",
            "部品は十五年間保管し、図面は公開しています。",
        ),
        ("潮見町", "霧ヶ原", "松風市"),
        ("水無月 葵", "久我山 蓮", "小鳥遊 実"),
        space="",
    ),
)  # fmt: skip
