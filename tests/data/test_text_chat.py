"""Chats are transformers' texts and tokens; a hostile template reaches nothing and comes to an end."""

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.data.text import ChatTemplate, ChatTemplateError, Tokenizer, _sandbox
from texts import awkward, byte_pairs

transformers = oracle("transformers")

CHATML = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson }}{{ '\\n' }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA3 = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = '26 Jul 2024' if not strftime_now is defined else strftime_now('%Y') %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday: ' ~ date_string ~ '\\n' ~ system ~ '<|eot_id|>' }}
{%- for message in messages %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

MISTRAL = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}
{% set system = messages[0]['content'] + '\\n\\n' %}{% else %}
{% set loop_messages = messages %}{% set system = '' %}{% endif %}
{{ bos_token }}
{%- for message in loop_messages %}
  {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{- raise_exception('Roles must alternate: user, assistant, user, …') }}
  {%- endif %}
  {%- if message['role'] == 'user' %}
    {{- '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}
  {%- else %}
    {{- ' ' + message['content'] + eos_token }}
  {%- endif %}
{%- endfor %}"""

GEMMA = """{{ bos_token }}{% for message in messages %}
{% if message.role == 'system' %}{% continue %}{% endif %}
{% set role = 'model' if message.role == 'assistant' else message.role %}
{{ '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}
{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

MARKED = """{%- macro turn(m) %}{{ '<' ~ m.role ~ '> ' }}{% endmacro %}
{%- for m in messages %}
    {%- set ns = namespace(count=loop.index) %}
    {{- turn(m) }}
    {%- if m.role == 'assistant' %}
        {%- generation %}{{ m.content + eos_token }}{% endgeneration %}
    {%- else %}
        {{- m.content | upper | indent(2) }}
    {%- endif %}
    {{- '\\n' ~ ns.count }}
{%- endfor %}"""

TEMPLATES = {"ChatML": CHATML, "Llama 3": LLAMA3, "Mistral": MISTRAL, "Gemma": GEMMA, "marked": MARKED}
CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "  Be brief. "}, {"role": "user", "content": "a\nb"}],
    [
        {"role": "system", "content": "<b>&\"'"},
        {"role": "user", "content": "{{ 7 * 7 }} {% raw %}"},
        {"role": "assistant", "content": "  ünïcode 😀 ", "tool_calls": None},
        {"role": "user", "content": ""},
    ],
    [{"role": "user", "content": text} if n % 2 == 0 else {"role": "assistant", "content": text}
     for n, text in enumerate(awkward())],
]  # fmt: skip
TOOLS = [
    {"type": "function", "function": {"name": "näme", "parameters": {"type": "object", "required": []}, "<&>": None}}
]
OPTIONS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}


@pytest.fixture(scope="module")
def both():
    """Ours and theirs with all templates."""
    fast = transformers.PreTrainedTokenizerFast
    options = {**OPTIONS, "chat_template": {**TEMPLATES, "default": CHATML}}
    return Tokenizer(byte_pairs(), **options), fast(tokenizer_object=byte_pairs(), **options)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("generate", [True, False])
def test_chats_are_transformers_texts(both, name, generate):
    ours, theirs = both
    for chat in CHATS:
        want = theirs.apply_chat_template(
            chat, chat_template=name, tokenize=False, add_generation_prompt=generate, tools=TOOLS
        )
        assert ours.chat(chat, generate, TOOLS, template=name) == want
    assert ours.chat(CHATS[0], template="Llama 3", date_string="today").count("today") == 1


def test_chats_are_transformers_tokens(both):
    ours, theirs = both
    kw = {"chat_template": "Gemma", "return_dict": True, "padding": True}
    for side in ("left", "right"):
        theirs.padding_side = side
        want = theirs.apply_chat_template(CHATS, **kw)
        got = ours.chat_tokens(CHATS, template="Gemma", side=side)
        np.testing.assert_array_equal(got.tokens, want["input_ids"])
        np.testing.assert_array_equal(got.mask, np.asarray(want["attention_mask"]) == 1)
    assert ours.chat_tokens(CHATS[0]).tokens.tolist() == [theirs.apply_chat_template(CHATS[0], return_dict=False)]


def test_what_the_assistant_wrote(both):
    ours, theirs = both
    chats = [[{"role": role, "content": text} for role, text in (("user", "hi"), ("assistant", "yes"), ("user", "no"),
                                                                  ("assistant", "good bye"))], CHATS[0]]  # fmt: skip
    theirs.padding_side = "right"
    want = theirs.apply_chat_template(
        chats, chat_template="marked", return_dict=True, padding=True, return_assistant_tokens_mask=True
    )
    got = ours.chat_tokens(chats, template="marked", assistant=True)
    np.testing.assert_array_equal(got.tokens, want["input_ids"])
    np.testing.assert_array_equal(got.assistant, np.asarray(want["assistant_masks"]) == 1)
    assert got.assistant.sum() > 0
    assert ours.decode(got.tokens[0][got.assistant[0]], skip_special=False) == "yes</s> good bye</s>"
    left = ours.chat_tokens(chats, template="marked", assistant=True, side="left")
    assert ours.decode(left.tokens[0][left.assistant[0]], skip_special=False) == "yes</s> good bye</s>"
    emoji = [{"role": "user", "content": "😀"}, {"role": "assistant", "content": "😀😀"}]  # several tokens a character
    got = ours.chat_tokens(emoji, template="marked", assistant=True)
    assert ours.decode(got.tokens[0][got.assistant[0]], skip_special=False) == "😀😀</s>"


def test_templates_travel_in_files(both, tmp_path):
    ours, theirs = both
    ours = Tokenizer(byte_pairs(), **OPTIONS, chat_template={"default": CHATML, "tool_use": MISTRAL})
    ours.save(tmp_path / "ours")
    assert (tmp_path / "ours" / "chat_template.jinja").read_text() == CHATML
    read = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours")
    back = Tokenizer.load(tmp_path / "ours")
    for tools in (None, TOOLS):
        want = read.apply_chat_template(CHATS[1], tokenize=False, tools=tools, add_generation_prompt=True)
        assert ours.chat(CHATS[1], tools=tools) == back.chat(CHATS[1], tools=tools) == want
    theirs.save_pretrained(tmp_path / "new")
    theirs.save_pretrained(tmp_path / "old", save_jinja_files=False)  # in the config, as a list with names
    for folder in ("new", "old"):
        assert Tokenizer.load(tmp_path / folder).chat(CHATS[1], template="Gemma").startswith("<s><start_of_turn>")
    theirs.chat_template = GEMMA
    theirs.save_pretrained(tmp_path / "single", save_jinja_files=False)
    assert Tokenizer.load(tmp_path / "single").chat(CHATS[0]).startswith("<s><start_of_turn>")


# --- hostile templates ------------------------------------------------------------------------------

REACHING = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__ }}",
    "{{ messages | attr('__class__') }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ ''['__class__'] }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '{x.__class__}'.format_map({'x': 1}) }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ dict.__class__ }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(a=1) }}",
    "{% include 'other' %}",
    "{% import 'other' as other %}",
    "{{ lipsum(n=100000) }}",
    "{{ (messages | tojson).__reduce__() }}",
    "{{ '<!---->' | striptags }}",
    "{{ ('<!---->' | safe).striptags() }}",
]

STRINGS = "{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
LISTS = "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}"
ENDLESS = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(10 ** 9) %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if j < 0 %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ messages }}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [[[]]] recursive %}{{ loop([[i]]) }}{% endfor %}",
    "{{ 'a' * 10 ** 15 }}",
    "{{ 10 ** 15 * 'a' }}",
    "{{ [0] * 10 ** 15 }}",
    "{{ 10 ** (10 ** 10) }}",
    "{{ 7 ** 99999 }}",
    "{{ '%99999999999d' % 1 }}",
    "{{ '%*d' % (10 ** 9, 1) }}",
    "{{ '{:99999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, '9' * 9) }}",
    "{{ '%99999999999d' | format(1) }}",
    "{{ ('%s' * 100000) | format(*['a' * 10000] * 100000) }}",
    "{{ ('%s' * 10000) % (('a' * 10000,) * 10000) }}",
    "{{ 'a'.center(10 ** 9) }}",
    "{{ 'a'.ljust(10 ** 9) }}",
    "{{ 'a'.zfill(width=10 ** 9) }}",
    "{{ '\\t'.expandtabs(10 ** 9) }}",
    "{{ 'a' | center(10 ** 9) }}",
    "{{ 'a\\nb' | indent(10 ** 9) }}",
    "{{ messages | tojson(indent=10 ** 9) }}",
    "{{ messages | batch(10 ** 9, 0) | list }}",
    "{{ messages | slice(10 ** 9) | list }}",
    "{{ ('a' * 99999).replace('a', 'a' * 99999) }}",
    "{{ ('a' * 99999) | replace('a', 'a' * 99999) }}",
    "{{ ('a' * 99999).join(['b'] * 99999) }}",
    "{{ (['b'] * 99999) | join('a' * 99999) }}",
    "{{ (['b' * 99999] * 99999) | join }}",
    "{{ 'a'.translate({97: 'a' * 99999}) }}",
    STRINGS + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    STRINGS + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    STRINGS + "{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}",
    LISTS + "{{ ns.s }}",
    LISTS + "{{ ns.s | tojson }}",
    LISTS + "{{ ns.s | string }}",
    LISTS + "{{ ns.s ~ 'a' }}",
    "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "{{ 1.5 | round(10 ** 9, 'ceil') }}",
    "{{ 1 | round(-(10 ** 9)) }}",
    "{{ ([0] * 9999) | tojson(indent=9999) }}",
    "{{ ([0] * 9999) | tojson(separators=('a' * 9999, ':')) }}",
    "{{ 'a'" + f" | replace('a', '{'a' * 999}')" * 3 + " }}",  # constant, and not computed when it is compiled
    LISTS + "{% set a = ns.s %}{% set ns.s = [1] %}" + LISTS.partition("%}")[2] + "{{ ns.s == a }}",
    LISTS + "{{ 2 in ns.s }}",
    LISTS + "{{ 2 is in ns.s }}",
    LISTS + "{{ [ns.s] | sort }}",
    LISTS + "{{ ns.s.index(2) }}",
    "{% set a = [0] * 9999 %}{% for i in range(999) %}{% set b = a[1:] %}{% endfor %}",
    "{{ ([0] * 9999) | batch(1) | sum(start=[]) }}",
]  # fmt: skip


@pytest.mark.parametrize("text", REACHING)
def test_a_template_reaches_nothing(text):
    with pytest.raises(ChatTemplateError, match=r"ChatTemplate expects .*, got .*\n  fix: ") as caught:
        print(ChatTemplate(text).render(CHATS[0]))
    assert "0x" not in str(caught.value)


ENDS = r"a template that comes to an end, got it |maximum recursion|it calls 'translate' of a string"


@pytest.mark.parametrize("text", ENDLESS)
def test_a_template_comes_to_an_end(text, monkeypatch):
    monkeypatch.setattr(_sandbox, "BUDGET", 3_000_000)  # ten seconds of all of these are fewer then
    with pytest.raises(ChatTemplateError, match=ENDS):
        ChatTemplate(text).render(CHATS[0])


def test_the_end_comes_soon(monkeypatch):
    monkeypatch.setattr(_sandbox, "BUDGET", 50_000)  # of what a chat may take, a thousandth
    assert ChatTemplate("{% for i in range(90) %}a{% endfor %}").render(CHATS[0]) == "a" * 90
    assert ChatTemplate("{% macro f(n) %}b{% endmacro %}" + "{{ f(1) }}" * 90).render(CHATS[0]) == "b" * 90
    for text in ("{% for i in range(110) %}a{% endfor %}", "{% macro f(n) %}b{% endmacro %}" + "{{ f(1) }}" * 110):
        with pytest.raises(ChatTemplateError, match=r"it takes more than 50,000 characters or 100 turns of loops"):
            ChatTemplate(text).render(CHATS[0])


def test_a_template_writes_not_without_end(monkeypatch):
    monkeypatch.setattr(_sandbox, "BUDGET", 3_000_000)
    with pytest.raises(ChatTemplateError, match=ENDS):
        ChatTemplate("{% for i in range(999) %}" + "written " * 1000 + "{% endfor %}").render(CHATS[0])


def test_what_is_paid_is_done_as_jinja2_does_it():
    text = "{{ [[1], [2]] | sum(start=[]) }} {{ messages | map(attribute='content') | map('length') | sum }} "
    text += "{{ messages | sum('n') }} {{ 2.345 | round(2) }} {{ [1, 2, 3][1:] }} {{ 'b' in 'abc' and 1 < 2 < 3 != 4 }}"
    found = ChatTemplate(text).render([{"role": "user", "content": "abc", "n": 3}, {"content": "de", "n": 4}])
    assert found == "[1, 2] 5 7 2.35 [2, 3] True"


def test_a_long_chat_is_no_hostile_one():
    chat = [{"role": "user", "content": "words and words " * 1000}, {"role": "assistant", "content": "x" * 5000}] * 100
    assert len(ChatTemplate(CHATML).render(chat)) > 2_000_000


def test_what_a_template_sees_is_plain(both):
    class Sly(str):
        def write(self, path):
            raise AssertionError

    class Image:
        def save(self, path):
            raise AssertionError

    chat = [
        {
            "role": Sly("user"),
            "content": [{"type": "image", "image": Image()}, {"n": np.int64(3), "x": np.float32(0.5)}],
        }
    ]
    seen = ChatTemplate("{{ messages[0].role.write is defined }} {{ messages | tojson }}").render(chat)
    assert seen == 'False [{"role": "user", "content": [{"type": "image", "image": "<Image>"}, {"n": 3, "x": 0.5}]}]'
    assert isinstance(chat[0]["content"][0]["image"], Image)  # the user's own is as it was


REFUSED = [
    (lambda: ChatTemplate("{% if %}"), ChatTemplateError, r"a template of jinja2, got Expected .* \(line 1\)"),
    (lambda: ChatTemplate("{{ x | wrong }}"), ChatTemplateError, r"a template of jinja2, got No filter named 'wrong'"),
    (lambda: ChatTemplate(MISTRAL, **OPTIONS).render([{"role": "assistant", "content": ""}]), ChatTemplateError,
     r"messages that it takes, got Roles must alternate: user, assistant, user, …\n  fix: change the messages"),
    (lambda: ChatTemplate(CHATML).render([{"role": "user"}]), ChatTemplateError,
     r"messages that the template can read, got (UndefinedError|TypeError): .*\n  fix: give messages with the entries"),
    (lambda: ChatTemplate(CHATML).render([]), px.StructureError, r"messages, each a dict, got 0 of something else"),
    (lambda: ChatTemplate(CHATML).render("Hello"), px.StructureError, r"messages, each a dict, got 'Hello'"),
    (lambda: ChatTemplate(CHATML).render(CHATS[0], tools=[len]), px.StructureError, r"tools, each as a JSON"),
    (lambda: ChatTemplate(CHATML).render_spans(CHATS[0]), ChatTemplateError, r"that tells what the assistant wrote"),
    (lambda: Tokenizer(byte_pairs()).chat(CHATS[0]), px.StructureError, r"a chat template 'default', got none"),
    (lambda: Tokenizer(byte_pairs(), chat_template={"a": "", "b": ""}).template(), px.StructureError, r"got 'a', 'b'"),
    (lambda: Tokenizer(byte_pairs(), chat_template={"../x": ""}).save("/nowhere"), px.StructureError, r"got '\.\./x'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED)
def test_what_cannot_be_is_refused(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_without_jinja2_the_error_names_the_extra(monkeypatch):
    import sys

    monkeypatch.delattr("phlox.data.text._sandbox", raising=False)
    monkeypatch.setitem(sys.modules, "phlox.data.text._sandbox", None)
    with pytest.raises(
        px.MissingExtraError, match=r'jinja2 for chat templates, got .*\n  fix: pip install "phlox\[text\]"'
    ):
        ChatTemplate("a template of its own")
