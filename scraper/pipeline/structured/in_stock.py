"""Whether a page tells its readers the opposite of the availability in its data.

Data is filled in by templates and lags behind, or counts what can only be reserved; the words beside the price are what
buyers act on. Looked at is what stands below the page's first heading, where goods of other pages do not stand yet; not
what cannot be picked up in a shop. It is no reading of the words: where sizes are gone, nothing is certain either.
"""

from __future__ import annotations

import re
from typing import Final

from scraper.pipeline.structured.states import YES

REACH: Final = 1500  # characters below the heading
NEAR: Final = 30  # characters from a way to get it to whether it can be had that way


def contradicted(text: str, state: str) -> bool:
    """Whether what stands below the first heading of `text` speaks against `state`, one of schema.org's."""
    said = YES.get(state)
    heading = _HEADING.search(text) if said is not None else None
    if heading is None:
        return False
    end = _NEXT_PART.search(text, heading.end(), heading.end() + REACH)
    offer = text[heading.end() : end.start() if end else heading.end() + REACH].lower()
    gone = any(not _IN_SHOPS.search(offer, max(0, each.start() - NEAR), each.start()) for each in _GONE.finditer(offer))
    return gone if said else not gone and _THERE.search(offer) is not None


_HEADING: Final = re.compile(r"^# ", re.MULTILINE)
_NEXT_PART: Final = re.compile(r"^##? (?=[^\d\n]*$)", re.MULTILINE)  # a price may be a heading, too
_GONE_WAYS: Final = r"""
out of stock|sold out|no longer available|(?:currently|temporarily|permanently|now) unavailable
not (?:currently |yet )?(?:available (?:online|to buy|for purchase)|in stock)|cannot be (?:bought|ordered)
ausverkauft|vergriffen|nicht (?:mehr )?(?:lieferbar|verfügbar|vorrätig|auf lager|bestellbar|erhältlich)
rupture de stock|épuisé|(?:actuellement|temporairement) indisponible|plus disponible
agotado|sin (?:stock|existencias)|(?:no|non|não) dispon[ií]\w+|fuera de stock|esaurito|esgotado
indispon[ií]vel|sem estoque
uitverkocht|niet (?:meer )?(?:leverbaar|op voorraad|beschikbaar)
niedostępny|wyprzedan[ey]|brak w magazynie
vyprodáno|vypredané|není skladem|nie je (?:na sklade|skladom|dostupn\w+)|nelze (?:koupit|objednat)
(?:není|nie je) možné [^\n]{0,40}(?:koupit|kúpiť|objednat|objednať)
slut i lager|slutsåld|utsolgt|ikke på lager|udsolgt|ei varastossa|loppuunmyyty
läbi müüdud|išparduota|izpārdots|nav noliktavā|elfogyott|nincs (?:készleten|raktáron)
stoc epuizat|indisponibil|nu este (?:în|in) stoc|tükendi|stokta yok
ni na zalogi|razprodano|rasprodano|nije dostupn\w+|изчерпан|няма наличност
нет в наличии|нет на складе|распродан\w*|немає в наявності|εξαντλ\w+|μη διαθέσιμο
"""
_UNSPACED_GONE: Final = (
    "אזל(?:ה)? מהמלאי|(?:אינו|לא) במלאי|غير متوفر|نفدت الكمية|在庫切れ|在庫なし|売り切れ|品切れ|"
    "缺货|缺貨|售罄|售完|無庫存|품절|재고 없음"
)
_GONE: Final = re.compile(rf"\b(?:{'|'.join(_GONE_WAYS.strip().splitlines())})\b|{_UNSPACED_GONE}")
_IN_SHOPS: Final = re.compile(
    r"\b(?:stores?|pick[- ]?up|collect(?:ion)?|filialen?|abholung|märkten?|magasins?|retrait|tiendas?|retiro|recogida|"
    r"negozi(?:o|di)?|ritiro|lojas?|retirada|winkels?|afhalen|prodejn\w+|predajn\w+|sklep\w*|odbi[óo]r\w*|butik\w*|"
    r"myymäl\w+|üzlet\w*|magazin\w*|магазин\w*|самовывоз\w*)\b[\s:|–-]*(?:is |are )?$"
)
_THERE: Final = re.compile(
    r"(?<!back )(?<!when )(?<!again )\b(?:in stock|auf lager|sofort lieferbar|en stock|na sklade|skladem|op voorraad|"
    r"in magazzino|em estoque|på lager|i lager|raktáron|în stoc|na zalogi|в наличии)\b|במלאי|在庫あり|有現貨"
)
