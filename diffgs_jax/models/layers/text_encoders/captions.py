"""How PixArt's captions are cleaned before they become tokens.

The rules are those of DeepFloyd IF, which PixArt-α, PixArt-Σ and their pipelines apply, twice, to every caption: web
addresses, markup, quotes of many kinds, article numbers and shop talk go, because they meant nothing in the pictures
the models learned from. `golden/tokens.npz` in the tests holds what the published pipeline makes of captions.
"""

import html
import html.parser
import importlib
import re
import urllib.parse

from diffgs_jax.errors import UserError

_SITES = r"[a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b\/?(?!@)"
_ADDRESS = rf"\b({{scheme}}:(?:\/{{{{1,3}}}}|[a-zA-Z0-9%])|{_SITES})"
_DASHES = (
    "\u002d\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0\ufe31\ufe32\ufe58"
)
_DASHES += "\ufe63\uff0d"
_FILES = "png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4"

# Each one replaces what its expression matches. Those of a list are applied in order.
_BEFORE_MARKUP = (
    ("<person>", "person"),
    (_ADDRESS.format(scheme="https?"), ""),
    (_ADDRESS.format(scheme="www"), ""),
)
_AFTER_MARKUP = (
    (r"@[\w\d]+\b", ""),  # nicknames
    ("[\u31c0-\u31ef\u31f0-\u31ff\u3200-\u4dff\u4e00-\u9fff]+", ""),  # Chinese and Japanese characters, but no kana
    (rf"[\{_DASHES}]+", "-"),
    ("[`´«»“”¨]", '"'),
    ("[‘’]", "'"),
    ("&quot;?", ""),
    ("&amp", ""),
    (r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}", " "),  # addresses of machines
    (r"\d:\d\d\s+$", ""),
    (r"\\n", " "),
    (r"#\d{1,3}\b", ""),
    (r"#\d{5,}\b", ""),
    (r"\b\d{6,}\b", ""),
    (rf"[\S]+\.(?:{_FILES})", ""),
    (r"[\"\']{2,}", '"'),
    (r"[\.]{2,}", " "),
    (r"[#®•©™&@·º½¾¿¡§~)(\]\[}{|\\/*]+", " "),
    (r"\s+\.\s+", " "),
)
_AFTER_REPAIR = (
    (r"\b[a-zA-Z]{1,3}\d{3,15}\b", ""),  # numbers of articles: jc6640, jc6640vc, 6640vc231
    (r"\b[a-zA-Z]+\d+[a-zA-Z]+\b", ""),
    (r"\b\d+[a-zA-Z]+\d+\b", ""),
    (r"(worldwide\s+)?(free\s+)?shipping", ""),
    (r"(free\s)?download(\sfree)?", ""),
    (r"\bclick\b\s(?:for|on)\s\w+", ""),
    (rf"\b(?:{_FILES})(\simage[s]?)?", ""),
    (r"\bpage\s+\d+\b", ""),
    (r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),
    (r"\b\d+\.?\d*[xх×]\d+\.?\d*\b", ""),  # sizes
    (r"\b\s+\:\s+", ": "),
    (r"(\D[,\./])\b", r"\1 "),
    (r"\s+", " "),
    (r"^[\"\']([\w\W]+)[\"\']$", r"\1"),
    (r"^[\'\_,\-\:;]", ""),
    (r"[\'\_,\-\:\+]$", ""),
    (r"^\.\S+$", ""),
)
_JOINTS = re.compile("[-_]")
_MOST_JOINTS = 3  # this-is-my-cute-cat has more


def clean_caption(caption: str) -> str:
    """Returns a caption as PixArt's pipelines clean it.

    Raises:
        UserError: if the `ftfy` package is missing.
    """
    return _cleaned(_cleaned(caption))


def _cleaned(caption: str) -> str:
    try:
        repair = importlib.import_module("ftfy").fix_text
    except ImportError:
        raise UserError('captions need the package ftfy: pip install "diffgs_jax[text]"') from None
    caption = urllib.parse.unquote_plus(caption).strip().lower()
    caption = _without_markup(_replaced(caption, _BEFORE_MARKUP))
    caption = _replaced(caption, _AFTER_MARKUP)
    if len(_JOINTS.findall(caption)) > _MOST_JOINTS:
        caption = _JOINTS.sub(" ", caption)
    caption = html.unescape(html.unescape(repair(caption)))
    return _replaced(caption, _AFTER_REPAIR).strip()


def _replaced(text: str, rules: tuple[tuple[str, str], ...]) -> str:
    for expression, replacement in rules:
        text = re.sub(expression, replacement, text)
    return text


class _Markup(html.parser.HTMLParser):
    """Keeps what a page shows."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown: list[str] = []

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:  # not inside of a script or a style sheet
            self.shown.append(data)


def _without_markup(text: str) -> str:
    parser = _Markup()
    parser.feed(text)
    parser.close()
    return "".join(parser.shown)
