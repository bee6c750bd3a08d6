"""`--check-secrets`: keys, passwords and personal data in rows, by the forms that they are known to have. A secret itself is never printed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from autotrain_llm.data.example import Example
from autotrain_llm.data.observations import Observations
from autotrain_llm.data.rules.content import a_row_holds_a_secret, a_row_holds_personal_data

# Fewer different characters than this are a placeholder: sk-xxxxxxxxxxxxxxxxxxxx.
FEWEST_CHARACTERS = 8
# Names that stand in documentation (RFC 2606, RFC 6761).
RESERVED = re.compile(r"(?:^|[@.])(?:example(?:\.(?:com|org|net))?|test|invalid|localhost|domain\.com|email\.com)$")
SHORTEST_IBAN, LONGEST_IBAN = 15, 34


@dataclass(frozen=True)
class SecretPattern:
    """A kind of secret: its name, its pattern, and a test that a match is a real one. A text without any of the `hints`, in lower case, holds none of
    the kind and is not searched. The first `known` characters are the same for all secrets of the kind, and may be printed."""

    name: str
    regex: re.Pattern[str]
    hints: tuple[str, ...]
    known: int = 0
    holds: Callable[[str], bool] = lambda match: True
    personal: bool = False


def _looks_random(match: str) -> bool:
    return len(set(match[4:])) >= FEWEST_CHARACTERS and "example" not in match.lower()


def _luhn(match: str) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1)."""
    digits = [int(character) for character in match if character.isdigit()]
    if len(set(digits)) < 2:
        return False
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(match: str) -> bool:
    """The check digits of an IBAN (ISO 13616): the whole is 1 modulo 97."""
    written = match.replace(" ", "")
    if not SHORTEST_IBAN <= len(written) <= LONGEST_IBAN:
        return False
    return int("".join(str(int(character, 36)) for character in written[4:] + written[:4])) % 97 == 1


def _phone(match: str) -> bool:
    digits = [character for character in match if character.isdigit()]
    return 9 <= len(digits) <= 15 and len(set(digits)) >= 4


def _address(match: str) -> bool:
    return RESERVED.search(match.lower().rpartition("@")[2]) is None


def _password(match: str) -> bool:
    """Whether an address with a name and a password holds a real one, not a word that stands for it."""
    password = match.rpartition("@")[0].rpartition(":")[2]
    return (
        password.strip("<>{}[]$*").lower() not in ("password", "pass", "passwd", "pwd", "secret")
        and "{" not in password
    )


def _assigned(match: str) -> bool:
    """Whether what a word such as `password` is set to is a secret: letters and digits mixed, and no word that stands for one."""
    value = ASSIGNMENT.split(match, maxsplit=1)[1]
    has_both = any(character.isalpha() for character in value) and any(character.isdigit() for character in value)
    return has_both and len(set(value)) >= FEWEST_CHARACTERS - 2 and STAND_IN.search(value) is None


def _prefixed(name: str, prefixes: str, pattern: str, known: int = 0) -> SecretPattern:
    """A kind that begins with one of these prefixes (parted by spaces), which `pattern` has too, and not inside of a word."""
    regex = re.compile(rf"(?<![A-Za-z0-9_-])(?:{pattern})")
    return SecretPattern(name, regex, tuple(prefixes.lower().split()), known, _looks_random)


ASSIGNMENT = re.compile(r"[\"']?\s*(?::=|[:=])\s*[\"']?")
STAND_IN = re.compile(
    r"(?i)your|example|xxx|\*\*\*|placeholder|change_?me|password|passwd|secret|dummy|sample|12345678|abc123"
)
END = r"(?![A-Za-z0-9])"
# As their vendors document them; the secret scanners detect-secrets and gitleaks look for the same forms.
SECRET_PATTERNS = (
    _prefixed("an AWS access key", "AKIA ASIA", rf"(?:AKIA|ASIA)[A-Z2-7]{{16}}{END}", 4),
    SecretPattern("an AWS secret key", re.compile(r"(?i:secret_?access_?key)[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"), ("access_key", "accesskey"), 0, _looks_random),
    _prefixed("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,}", 4),
    _prefixed("a GitLab token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,}", 6),
    _prefixed("a Hugging Face token", "hf_", r"hf_[A-Za-z0-9]{30,}", 3),
    _prefixed("an Anthropic key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{24,}", 7),
    _prefixed("an OpenAI key", "sk-", r"sk-(?!ant-)(?:proj-|svcacct-)?[A-Za-z0-9_-]{24,}", 3),
    _prefixed("a Groq key", "gsk_", r"gsk_[A-Za-z0-9]{40,}", 4),
    _prefixed("an NVIDIA key", "nvapi-", r"nvapi-[A-Za-z0-9_-]{40,}", 6),
    _prefixed("a Replicate token", "r8_", rf"r8_[A-Za-z0-9]{{37}}{END}", 3),
    _prefixed("an xAI key", "xai-", r"xai-[A-Za-z0-9]{60,}", 4),
    _prefixed("a Perplexity key", "pplx-", r"pplx-[A-Za-z0-9]{40,}", 5),
    _prefixed("a Google API key", "AIza", r"AIza[A-Za-z0-9_-]{35}", 4),
    _prefixed("a Google OAuth secret", "GOCSPX- ya29.", r"GOCSPX-[A-Za-z0-9_-]{24,}|ya29\.[A-Za-z0-9_-]{30,}"),
    _prefixed("a Slack token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{16,}", 5),
    SecretPattern("a Slack webhook", re.compile(r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]{16,}"), ("hooks.slack.com",), 15, _looks_random),
    _prefixed("a Discord token", ".", r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}"),
    SecretPattern("a Discord webhook", re.compile(r"discord(?:app)?\.com/api/webhooks/\d{15,}/[A-Za-z0-9_-]{50,}"), ("/api/webhooks/",), 0, _looks_random),
    _prefixed("a Telegram bot token", ":aa", r"\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _prefixed("a Twilio key", "sk ac", rf"(?:SK|AC)[0-9a-f]{{32}}{END}", 2),
    _prefixed("a Mailchimp key", "-us", rf"[0-9a-f]{{32}}-us\d{{1,2}}{END}"),
    _prefixed("a Mailgun key", "key-", rf"key-[0-9a-z]{{32}}{END}", 4),
    _prefixed("a SendGrid key", "SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}", 3),
    _prefixed("a Stripe key", "k_live_", r"[rs]k_live_[A-Za-z0-9]{20,}", 8),
    _prefixed("a Square token", "sq0 EAAA", r"sq0[a-z]{3}-[A-Za-z0-9_-]{22,}|EAAA[A-Za-z0-9_-]{60}", 3),
    _prefixed("a Shopify token", "shp", rf"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{{32}}{END}", 6),
    _prefixed("an npm token", "npm_", rf"npm_[A-Za-z0-9]{{36}}{END}", 4),
    _prefixed("a PyPI token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,}", 8),
    _prefixed("a DigitalOcean token", "_v1_", rf"do[opr]_v1_[a-f0-9]{{64}}{END}", 7),
    _prefixed("a Databricks token", "dapi", rf"dapi[a-f0-9]{{32}}(?:-\d)?{END}", 4),
    _prefixed("a Vault token", "hvs.", r"hvs\.[A-Za-z0-9_-]{60,}", 4),
    _prefixed("a Grafana token", "glsa_ glc_", r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{40,}", 3),
    _prefixed("an Atlassian token", "ATATT3", r"ATATT3[A-Za-z0-9_=-]{100,}", 6),
    SecretPattern("an Azure key", re.compile(r"(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{42,86}={1,2}|(?<![\w~.-])[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,34}"), ("accountkey=", "sharedaccesskey=", "q~"), 0, _looks_random),
    _prefixed("a signed web token (JWT)", "eyJ", r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", 3),
    SecretPattern("a private key", re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=:]"), ("private key",), 10),
    SecretPattern("an address with a password",
        re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{1,64}:[^\s:/@\"']{3,64}@[\w.-]+"), ("://",), 0, _password),
    SecretPattern("a password or key that is set",
        re.compile(r"(?i)(?<![a-z])(?:password|passwd|pwd|api[_-]?key|(?:access|auth|secret|api)[_-]?token|client[_-]?secret|secret[_-]?key)[\"']?\s*(?::=|[:=])\s*[\"']?[A-Za-z0-9!@#%^&*_+=./~-]{8,}(?=[\s\"',;}]|$)"),
        ("password", "passwd", "pwd", "key", "token", "secret"), 0, _assigned),
    SecretPattern("an e-mail address",
        re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![\w-])"), ("@",), 0, _address, personal=True),
    SecretPattern("a credit card number",
        re.compile(
            r"(?<![\w.-])(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6(?:011|5\d\d)|35\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5})(?![\w-])"
        ), (), 0, _luhn, personal=True),
    SecretPattern("an IBAN", re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])"), (), 0, _iban, personal=True),
    SecretPattern("a telephone number", re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ .()/-]{0,2}\d{1,4}){3,6}(?!\d)"), ("+",), 0, _phone, personal=True),
    SecretPattern("a US social security number", re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), ("-",), personal=True),
)  # fmt: skip


def check_secrets(rows: Iterable[Example], observations: Observations) -> None:
    """Report rows that hold secrets or personal data. Of a secret only the beginning is printed, if it is the same for all of its kind."""
    for row in rows:
        for pattern, match in _matches(row):
            if pattern.personal:
                observations.row(a_row_holds_personal_data, row, name=pattern.name)
            else:
                begins = match[: pattern.known]
                observations.row(a_row_holds_a_secret, row, pattern.name, name=pattern.name, begins=begins)


def _calls(row: Example) -> Iterator[str]:
    """The arguments of the row's tool calls."""
    sides = (row.messages, row.prompt, row.completion, row.chosen, row.rejected)
    for side in sides:
        if isinstance(side, list):
            yield from (
                json.dumps(turn["tool_calls"], ensure_ascii=False, default=str)
                for turn in side
                if turn.get("tool_calls")
            )


def _matches(row: Example) -> Iterator[tuple[SecretPattern, str]]:
    """Each pattern that a row holds, once, and what matches it."""
    text = "\n".join((*row.strings(), *_calls(row)))
    lowered = text.lower()
    for pattern in SECRET_PATTERNS:
        if pattern.hints and not any(hint in lowered for hint in pattern.hints):
            continue
        for match in pattern.regex.finditer(text):
            if pattern.holds(match[0]):
                yield pattern, match[0]
                text = pattern.regex.sub(" ", text)  # what stands behind a password is no e-mail address
                break
