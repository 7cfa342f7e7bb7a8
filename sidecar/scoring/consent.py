"""Short turns that only approve what the assistant proposed."""

import re

# Longer turns say something of their own.
MAX_CHARS = 48
MAX_WORDS = 7


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# A turn made of these words alone is a consent if at least one of them approves.
_APPROVING = _words(
    """
    yes yep yeah yup ya y ok okay k kk sure agreed agree approve approved accept accepted confirm confirmed correct
    right exactly absolutely definitely certainly perfect great good lgtm fine proceed continue resume go next ahead do
    execute run start begin implement apply commit push merge ship deploy submit send publish release install create
    write fix try use pick choose take option first second third fourth fifth last former latter both either all one
    two three four five affirmative alright indeed please
    ja jawohl klar gerne genau einverstanden passt mach weiter los bitte ausführen
    oui ouais d'accord daccord vas-y allez-y continuez continuer continue parfait entendu volontiers
    sí si vale claro adelante dale continúa continua hazlo procede perfecto
    sim claro pode continuar faça continue prossiga certo
    sì certo va bene procedi vai fallo continua perfetto
    jazeker prima graag doe akkoord doorgaan
    tak dobrze jasne zgoda dalej
    da \u0434\u0430 \u043e\u043a \u0445\u043e\u0440\u043e\u0448\u043e \u0434\u0430\u0432\u0430\u0439 \u0441\u043e\u0433\u043b\u0430\u0441\u0435\u043d \u0442\u0430\u043a \u0433\u0430\u0440\u0430\u0437\u0434
    jo japp visst gärna fortsätt absolut selvfølgelig
    kyllä joo jatka ano evet tamam igen rendben \u03bd\u03b1\u03b9
    """
)
_FILLING = _words(
    """
    it that this them those these the a an and then now so with for of to let's lets let us we you can could should
    would i me my im i'm is are be by in on as well just also too way much sounds looks plan option choice number
    suggestion proposal change changes step steps everything
    das es du dann jetzt so machen wir die den der erste zweite dritte alles
    le la les ça ca tout moi il el lo los todo por favor o os isso tudo het dat maar to si
    """
)
# Thumbs up, check marks, OK hand, folded hands, rocket, hundred; the skin tones that some of them take.
_SYMBOLS = frozenset(
    "\U0001f44d\u2705\u2714\U0001f44c\U0001f64f\U0001f680\U0001f4af\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff\ufe0f"
)
# `1`, `2.`, `b)`, `#3`, `(a)`, `1 and 3`, `option 2`, `the plan b`
_ONE = r"[#(\[]?(?:\d{1,2}|[a-f])[)\].:]?"
_CHOICE = re.compile(
    rf"(?:(?:go with|do|use|pick|choose|take|let's do) )?(?:the )?(?:(?:option|number|choice|step|plan|no\.?) )?"
    rf"{_ONE}(?:(?: ?[,&+] ?| and ){_ONE}){{0,3}}"
)
_EDGES = " \t\r\n.,;:!\u2026-\u2013\u2014'\"`*_()\ufe0f"


def is_consent(text: str) -> bool:
    """Whether a turn only approves, answers yes or picks one of the options it was offered."""
    if len(text) > MAX_CHARS:
        return False
    text = text.strip(_EDGES).lower()
    if _CHOICE.fullmatch(text):
        return True
    words = [word.strip(_EDGES) for word in text.split()]
    return 0 < len(words) <= MAX_WORDS and all(map(_may_approve, words)) and any(map(_approves, words))


def _approves(word: str) -> bool:
    return word in _APPROVING or (bool(word) and _SYMBOLS.issuperset(word))


def _may_approve(word: str) -> bool:
    return not word or word in _FILLING or _approves(word)
