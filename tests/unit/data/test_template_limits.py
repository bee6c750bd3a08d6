"""A chat template ends soon and fills no memory, whatever it says; a real one is not changed by the limits."""

from __future__ import annotations

import pytest

from autotrain_llm.data.chat import limits
from autotrain_llm.data.chat.jinja_engine import rendered

MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello, you"}]


def written(source: str) -> str:
    return rendered(source, False, {"messages": MESSAGES, "bos_token": "<s>"})


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a'|center(999999999) }}",
        "{{ 'a'.rjust(10**9) }}",
        "{{ messages|tojson(indent=99999999) }}",
        "{{ lipsum(n=99999) }}",
        "{{ 'a' * 10**10 }}",
        "{{ [0] * 10**9 }}",
        "{{ 2 ** 1000000000 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '%999999999d'|format(1) }}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = [n.s, n.s]|join %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s|replace('a', 'aa') %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_without_bound_is_stopped(source):
    with pytest.raises(Exception) as stopped:
        written(source)
    assert not isinstance(stopped.value, MemoryError)


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% macro f() %}{{ caller() }}{{ caller() }}{% endmacro %}" + "{% call f() %}" * 60 + "{% endcall %}" * 60,
        "".join(
            f"{{% block b{n} %}}{{{{ self.b{n + 1}() }}}}{{{{ self.b{n + 1}() }}}}{{% endblock %}}" for n in range(60)
        )
        + "{% block b60 %}{% endblock %}",
        "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% set step_ = namespace %}{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    ],
)
def test_whatever_can_run_again_is_counted(source, monkeypatch):
    monkeypatch.setattr(limits, "MOST_STEPS", 20_000)
    with pytest.raises(limits.LimitExceeded, match="20000 steps"):
        written(source)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ 'a'|center(5) }}|{{ 'a'.ljust(3) }}|{{ '%03d' % 7 }}|{{ '{:>4}'.format(1) }}", "  a  |a  |007|   1"),
        ("{{ messages|map(attribute='content')|join(', ') }}", "Hi, Hello, you"),
        ("{{ messages|join(', ', attribute='role') }}", "user, assistant"),
        ("{{ 'a' ~ 1 ~ none ~ undefined_name }}", "a1None"),
        ("{{ 'x: y'|replace(':', ' is') }} {{ 'aaa'.replace('a', 'b', 1) }}", "x is y baa"),
        ("{% for m in messages %}{{ loop.index }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2"),
        ("{% for i in range(messages|length) %}{% set m = messages[i] %}{{ m.role }}{% endfor %}", "userassistant"),
        ("{{ bos_token + 'a' * 3 }}{{ 'x\ny'|indent(2) }}", "<s>aaax\n  y"),
        ("{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}nobody{% endfor %}", "Hi"),
        ("{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "3210"),
        (
            "{% for a in [[1, [2]]] recursive %}{% if a is iterable %}({{ loop(a) }}){% else %}{{ a }}{% endif %}{% endfor %}",
            "(1(2))",
        ),
        ("{{ {'a': [1]}|tojson(indent=2) }}", '{\n  "a": [\n    1\n  ]\n}'),
    ],
)
def test_what_templates_do_works_as_before(source, expected):
    assert written(source) == expected
