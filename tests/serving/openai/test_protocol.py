"""What is asked and answered by OpenAI's protocol, beside an engine that writes what it is told to."""

import base64
import http.client
import io
import json
import threading
import time

import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox.serving import Limits, Server

openai = oracle("openai")
oracle("uvicorn")
oracle("tokenizers")
oracle("jinja2")
from serving.openai.small import language, tokenizer  # noqa: E402 - what it needs is looked for first
from serving.small import Scaled, ask  # noqa: E402

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "Héllo €, world"
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
JSON = {"type": "json_object"}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


@pytest.fixture(scope="module")
def served():
    return language(TEXT)


@pytest.fixture(scope="module")
def journal():
    return io.StringIO()


@pytest.fixture(scope="module")
def server(served, journal):
    bare = language("x", template=None)
    with Server({"tiny": served, "bare": bare, "m": Scaled()}, port=0, journal=journal, requests=True) as one:
        yield one


@pytest.fixture
def client(server, served):
    served.engine.texts, served.engine.asked, served.engine.running = [TEXT], [], []
    served.engine.refuses = None
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as one:
        yield one


def chat(client, **options):
    return client.chat.completions.create(model="tiny", messages=options.pop("messages", HELLO), **options)


def test_models_are_listed_and_told_of(client, server):
    assert [one.id for one in client.models.list()] == ["bare", "tiny"]
    one = client.models.retrieve("tiny")
    assert (one.id, one.owned_by, one.object) == ("tiny", "phlox", "model")
    assert abs(one.created - time.time()) < 600
    told = ask(server, "GET", "/v1/models/tiny")[1]
    assert told["model_version_status"][0]["state"] == "AVAILABLE"  # what TensorFlow's clients ask for there
    assert set(ask(server, "GET", "/v1/models/m")[1]) == {"model_version_status"}


def test_an_answer_whole_and_in_parts(client, served):
    prompt = tokenizer().encode("<|u|>Hello<|end|>\n<|a|>", special=False)
    count = len(tokenizer().encode(TEXT)) + 1
    whole = chat(client)
    assert whole.choices[0].message.content == TEXT
    assert (whole.choices[0].finish_reason, whole.choices[0].message.role) == ("stop", "assistant")
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (len(prompt), count)
    assert whole.usage.total_tokens == len(prompt) + count
    assert (whole.object, whole.model, whole.id[:9]) == ("chat.completion", "tiny", "chatcmpl-")
    parts = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].delta.content or "" for part in parts[:-1]) == TEXT
    assert parts[0].choices[0].delta.role == "assistant"
    assert [part.choices[0].finish_reason for part in parts[-3:-1]] == [None, "stop"]
    assert (parts[-1].choices, parts[-1].usage) == ([], whole.usage)
    assert {part.object for part in parts} == {"chat.completion.chunk"}
    assert len({part.id for part in parts}) == 1
    assert len(parts) > 5
    assert [asked.prompt for asked in served.engine.asked] == [tuple(prompt)] * 2


def test_parts_are_events_that_end_with_done(client, server):
    body = {"model": "tiny", "messages": HELLO, "stream": True, "max_tokens": 2}
    status, text, headers = ask(server, "POST", CHAT, body)
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/event-stream", "no-cache")
    events = text.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    told = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [one["choices"][0]["finish_reason"] for one in told] == [None, None, None, "length"]
    assert all("usage" not in one for one in told)


def test_completions_go_on_from_texts_and_tokens(client, served):
    tok = tokenizer()
    served.engine.texts = [" one", " two", " three", " four"]
    found = client.completions.create(model="tiny", prompt=["a b", "c"], n=2, echo=True)
    assert [one.text for one in found.choices] == ["a b one", "a b two", "c three", "c four"]
    assert [one.index for one in found.choices] == [0, 1, 2, 3]
    prompts = [tuple(tok.encode("a b")), tuple(tok.encode("c"))]
    assert [asked.prompt for asked in served.engine.asked] == [prompts[0], prompts[0], prompts[1], prompts[1]]
    assert found.usage.prompt_tokens == sum(map(len, prompts))
    assert {asked.max_new for asked in served.engine.asked} == {16}
    client.completions.create(model="tiny", prompt=[5, 6], max_tokens=3)
    client.completions.create(model="tiny", prompt=[[5], [6, 7]])
    assert [asked.prompt for asked in served.engine.asked[4:]] == [(5, 6), (5,), (6, 7)]
    parts = client.completions.create(model="tiny", prompt="a b", echo=True, stream=True, n=2)
    texts = ["", ""]
    for part in parts:
        texts[part.choices[0].index] += part.choices[0].text
    assert texts == ["a b four"] * 2


def test_options_are_the_engines(client, served):
    chat(client, temperature=0.5, top_p=0.9, presence_penalty=1, frequency_penalty=-1, seed=7, n=2, stop=["zz"],
         logit_bias={"5": -100}, max_completion_tokens=9, logprobs=True, top_logprobs=3,
         extra_body={"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.2})  # fmt: skip
    first, second = served.engine.asked
    assert (first.temperature, first.top_p, first.top_k, first.min_p) == (0.5, 0.9, 4, 0.1)
    assert (first.presence_penalty, first.frequency_penalty, first.repetition_penalty) == (1, -1, 1.2)
    assert (first.bias, first.max_new, first.logprobs) == ({5: -100}, 9, 3)
    assert (first.seed, second.seed) == (7, 8)  # the texts of one request differ
    assert set(first.stop) == {(tokenizer().eos_id,), (tokenizer().vocab["<|end|>"],)}
    assert first.client == "127.0.0.1"
    assert 590 < first.deadline - time.monotonic() < 600
    chat(client, temperature=0, top_p=0.5)
    chat(client, extra_headers={"X-Request-Timeout": "5"})
    third, fourth = served.engine.asked[2:]
    assert (third.temperature, third.top_p, third.seed) == (0, None, None)  # nothing is drawn, so nothing to cut
    assert (fourth.temperature, fourth.max_new) == (1.0, served.longest - len(fourth.prompt))
    assert fourth.deadline - time.monotonic() < 5


def test_log_probabilities_of_chats(client):
    tok = tokenizer()
    found = chat(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    tokens = tok.encode(TEXT, special=False)
    assert [bytes(one.bytes) for one in found] == tok.token_bytes(tokens)
    assert b"".join(bytes(one.bytes) for one in found).decode() == TEXT
    assert [one.logprob for one in found] == [-0.25 * (n + 1) for n in range(len(tokens))]
    assert [(one.logprob, bytes(one.bytes)) for one in found[0].top_logprobs] == list(
        zip([-0.5, -1.5], tok.token_bytes([0, 1]), strict=True)
    )
    halves = [one.token for one in found if not one.token.isprintable() or one.token.startswith("bytes:")]
    assert halves[:2] == ["bytes:\\xc3", "bytes:\\xa9"]
    parts = [part.choices[0] for part in chat(client, logprobs=True, stream=True)]
    streamed = [one for part in parts if part.logprobs for one in part.logprobs.content]
    assert [one.token for one in streamed] == [one.token for one in found]
    assert streamed[0].top_logprobs == []
    assert chat(client).choices[0].logprobs is None


def test_log_probabilities_of_completions(client, served):
    served.engine.texts = ["one two"]
    pieces = [tokenizer().decode([n]) for n in tokenizer().encode("one two")]
    told = client.completions.create(model="tiny", prompt="a", logprobs=2).choices[0].logprobs
    assert told.tokens == pieces
    assert told.text_offset == [0, *np.cumsum([len(piece) for piece in pieces[:-1]])]
    assert told.token_logprobs == [-0.25 * (n + 1) for n in range(len(pieces))]
    names = [tokenizer().decode([n], skip_special=False) for n in (0, 1)]
    assert told.top_logprobs[0] == dict(zip(names, [-0.5, -1.5], strict=True))


def test_strings_end_texts_wherever_tokens_begin(client, served):
    served.engine.texts = ["one two three"]
    for options in ({}, {"stream": True}):
        found = chat(client, stop=["o th", "never"], **options)
        if options:
            parts = list(found)
            said = "".join(part.choices[0].delta.content or "" for part in parts)
            assert parts[-1].choices[0].finish_reason == "stop"
        else:
            said = found.choices[0].message.content
            assert (found.choices[0].finish_reason, found.choices[0].stop_reason) == ("stop", "o th")
        assert said == "one tw"
        assert served.engine.running[-1].cancelled.is_set()  # no more is written than is wanted


def test_tools_are_shown_called_and_answered(client, served):
    served.engine.texts = [f"Well. {CALL}\n{CALL}", f"Well. {CALL}\n{CALL}", CALL, "3"]
    answer = chat(client, tools=[ADD])
    assert tokenizer().decode(list(served.engine.asked[0].prompt)).startswith("[add]")
    message = answer.choices[0].message
    assert (message.content, answer.choices[0].finish_reason) == ("Well. ", "tool_calls")
    calls = [(one.function.name, one.function.arguments, one.type) for one in message.tool_calls]
    assert calls == [("add", '{"a": 1}', "function")] * 2
    assert len({one.id for one in message.tool_calls}) == 2
    parts = [part.choices[0] for part in chat(client, tools=[ADD], stream=True)]
    deltas = [one for part in parts for one in part.delta.tool_calls or []]
    assert [(one.index, one.function.name, one.function.arguments) for one in deltas] == [
        (0, "add", '{"a": 1}'), (1, "add", '{"a": 1}'),
    ]  # fmt: skip
    assert "".join(part.delta.content or "" for part in parts) == "Well. "
    assert parts[-1].finish_reason == "tool_calls"
    text = chat(client, tools=[ADD], tool_choice="none").choices[0].message
    assert (text.content, text.tool_calls) == (CALL, None)
    assert not tokenizer().decode(list(served.engine.asked[2].prompt)).startswith("[add]")
    results = [{"role": "tool", "tool_call_id": call.id, "content": "2"} for call in message.tool_calls]
    said = [*HELLO, message.model_dump(), *results]
    assert chat(client, messages=said, tools=[ADD]).choices[0].message.content == "3"
    want = "[add]Hello<tool_call>add 1</tool_call><tool_call>add 1</tool_call>"
    read = tokenizer().decode(list(served.engine.asked[3].prompt))
    assert read.replace("Well. ", "").replace("\n", "") == want + "22"


def test_variables_of_the_template_reach_it(client, served):
    for n, options in enumerate(
        [{"reasoning_effort": "low"}, {"extra_body": {"chat_template_kwargs": {"mood": "glad"}}}]
    ):
        chat(client, **options)
        assert tokenizer().decode(list(served.engine.asked[n].prompt)).startswith(["low!", "glad!"][n])


def test_messages_in_parts_and_from_developers(client, served):
    said = [{"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]}]  # fmt: skip
    chat(client, messages=said)
    want = tokenizer().encode("<|s|>Be brief.<|end|>\n<|u|>Hello<|end|>\n<|a|>", special=False)
    assert served.engine.asked[0].prompt == tuple(want)


REFUSED = [
    ({"model": None}, "model", "model expects a string, got none"),
    ({"model": "m"}, "model", "model expects a language model, got m, another one"),
    ({"model": "bare"}, "model", "model expects a model with a chat template, got bare"),
    ({"messages": []}, "messages", "messages expects a message at least, got none"),
    ({"messages": "Hello"}, "messages", "messages expects a list of objects, got Hello"),
    ({"messages": [{"role": "me", "content": "x"}]}, "messages[0].role", "got me"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "messages[0].content expects text, got none"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type", "image_url"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "a string, got none"),
    ({"temperature": 3}, "temperature", "temperature expects a number from 0 to 2, got 3"),
    ({"temperature": "hot"}, "temperature", "got hot"),
    ({"top_p": True}, "top_p", "a number from 0 to 1, got True"),
    ({"n": 0}, "n", "n expects a whole number from 1 to 128, got 0"),
    ({"n": 1.0}, "n", "got 1.0"),
    ({"stop": [""]}, "stop", "none of them empty"),
    ({"stop": ["x"] * 17}, "stop", "at most 16"),
    ({"stream": 1}, "stream", "true or false, got 1"),
    ({"stream_options": {}}, "stream_options", "stream beside it"),
    ({"stream": True, "stream_options": {"other": 1}}, "stream_options.other", "fields among"),
    ({"top_logprobs": 2}, "top_logprobs", "logprobs beside it"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    ({"logit_bias": {"100000": 1}}, "logit_bias", "tokens from 0 to"),
    ({"logit_bias": {"1": 101}}, "logit_bias.1", "from -100 to 100"),
    ({"max_tokens": 600}, "messages", "at most 512 tokens in all, as there is room for, got 8 and 600 new"),
    ({"messages": [{"role": "user", "content": "x y " * 400}]}, "messages", "at most 512 tokens in all"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "a function, got none"),
    ({"tools": [ADD, ADD]}, "tools", "different names, got add, add"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name", "got a b"),
    ({"tool_choice": "required"}, "tool_choice", "none, auto, required, or a function among none"),
    ({"tools": [ADD], "tool_choice": {"type": "function", "function": {"name": "mul"}}}, "tool_choice", "among add"),
    ({"tools": [ADD], "parallel_tool_calls": False}, "parallel_tool_calls", "true beside tool_choice auto"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "'text', 'json_object', 'json_schema'"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "a name and a schema, got none"),
    ({"tools": [ADD], "tool_choice": "required", "response_format": JSON}, "response_format", "both"),
    ({"store": True}, "store", "no answer that is kept, got True"),
    ({"functions": [{}]}, "functions", "functions expects tools"),
    ({"audio": {}}, "audio", "audio expects text alone"),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs.tools", "variables of the template's own"),
    ({"verbosity": "low"}, "verbosity", "fields among"),
    ({"whatever": 1}, "whatever", "fields among audio, chat_template_kwargs,"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param", "text"), REFUSED, ids=[str(change)[:60] for change, _, _ in REFUSED])
def test_what_is_refused_says_which_field_and_why(server, served, change, param, text):
    served.engine.asked = []
    status, told, _ = ask(server, "POST", CHAT, {"model": "tiny", "messages": HELLO, **change})
    assert (status, told["error"]["param"]) == (400, param)
    assert told["error"]["type"] == "invalid_request_error"
    assert text in told["error"]["message"]
    assert "\n  fix: " in told["error"]["message"]
    assert served.engine.asked == []


@pytest.mark.parametrize(
    ("change", "param", "text"),
    [({"prompt": []}, "prompt", "a text, or at most 128"), ({"prompt": None}, "prompt", "got None"),
     ({"prompt": [["a"]]}, "prompt", "tokens from 0 to"), ({"prompt": [1, 100000]}, "prompt", "tokens from 0 to"),
     ({"prompt": ["a", 3]}, "prompt", "got 3"), ({"prompt": ""}, "prompt", "a token at least, got none"),
     ({"echo": True, "logprobs": 1}, "echo", "no logprobs beside it"), ({"logprobs": 6}, "logprobs", "from 0 to 5"),
     ({"suffix": "x"}, "suffix", "no suffix"), ({"best_of": 3}, "best_of", "as many texts as n says, got 3")],
)  # fmt: skip
def test_what_completions_refuse(server, change, param, text):
    status, told, _ = ask(server, "POST", "/v1/completions", {"model": "tiny", "prompt": "a", **change})
    assert (status, told["error"]["param"]) == (400, param)
    assert text in told["error"]["message"]


def test_errors_are_those_that_clients_know(client, server, served):
    with pytest.raises(openai.NotFoundError, match="a model among bare, tiny, got 'gpt-9'") as found:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert (found.value.code, found.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError, match="at most 512") as long:
        chat(client, max_tokens=512)
    assert long.value.code == "context_length_exceeded"
    served.engine.refuses = px.serving.QueueFullError("room", got="none", fix="wait", where="engine")
    for options in ({}, {"stream": True}):
        with pytest.raises(openai.RateLimitError) as full:
            chat(client, **options)
        assert (full.value.response.headers["retry-after"], full.value.code) == ("1", "rate_limit_exceeded")
    served.engine.refuses = None
    status, told, headers = ask(server, "GET", CHAT)
    assert (status, headers["allow"]) == (405, "POST")
    assert told["error"]["message"].endswith("expects POST, got GET")
    status, told, _ = ask(server, "POST", CHAT, b"{")
    assert (status, told["error"]["type"]) == (400, "invalid_request_error")


def test_a_model_that_fails_says_so_and_tells_the_journal_why(client, served, journal):
    script = [7, 8]
    for options in ({}, {"stream": True}):
        served.engine.texts = [script]
        submit = served.engine.submit

        def failing(asked, submit=submit):
            running = submit(asked)
            running.left.insert(1, ArithmeticError("the device is gone"))
            return running

        served.engine.submit = failing
        try:
            with pytest.raises(openai.APIError, match="the model failed for this request"):
                list(chat(client, **options))
        finally:
            del served.engine.submit
    assert journal.getvalue().count("the device is gone") == 2


def test_a_client_that_leaves_ends_its_text(client, server, served):
    def held(stream):
        """A request whose engine waits after two tokens, and who asks."""
        submit = served.engine.submit

        def holding(asked):
            running = submit(asked)
            running.hold_after = 2
            running.free.clear()
            return running

        served.engine.submit = holding
        line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        line.request("POST", CHAT, json.dumps({"model": "tiny", "messages": HELLO, "stream": stream, "n": 2}))
        end = time.monotonic() + 20
        while sum(one.read for one in served.engine.running) < 4:
            assert time.monotonic() < end
            time.sleep(0.002)
        del served.engine.submit
        return line

    for stream in (False, True):
        served.engine.running = []
        line = held(stream)
        if stream:
            answer = line.getresponse()
            assert answer.readline().startswith(b"data: ")
            answer.close()
        line.close()
        running = served.engine.running
        assert [one.cancelled.wait(20) for one in running] == [True, True]


def test_numbers_and_lines(client, server, journal):
    def number(name):
        lines = ask(server, "GET", "/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))

    names = ("phlox_prompt_tokens_total", "phlox_written_tokens_total", "phlox_first_token_seconds_count")
    before = [number(name) for name in names]
    found = chat(client)
    list(chat(client, stream=True))
    after = [number(name) for name in names]
    usage = found.usage
    assert np.subtract(after, before).tolist() == [2 * usage.prompt_tokens, 2 * usage.completion_tokens, 2]
    assert number("phlox_engine_slots") >= 0
    assert 'protocol="openai",status="200"' in ask(server, "GET", "/metrics")[1].decode()
    lines = [json.loads(line) for line in journal.getvalue().splitlines()]
    last = [line for line in lines if line["event"] == "request" and line["path"] == CHAT][-1]
    assert (last["status"], last["version"], last["client"]) == (200, "tiny/1", "127.0.0.1")


def test_keys_and_what_each_client_may_take():
    served = language("a b c")
    limits = Limits(client_requests=2, client_tokens=60)
    with Server({"tiny": served}, port=0, token=["k1", "k2"], limits=limits) as server:
        ours, theirs, none = (
            openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0) for key in ("k1", "k2", "k3")
        )
        with ours, theirs, none:
            with pytest.raises(openai.AuthenticationError) as found:
                none.models.list()
            assert found.value.code == "invalid_api_key"
            with pytest.raises(openai.RateLimitError, match="at most 2 texts of one client at a time, got 3 beside 0"):
                chat(ours, n=3)
            assert len(chat(ours, n=2).choices) == 2
            assert {asked.client for asked in served.engine.asked} == {"key 1"}
            while served.engine.asked and len(served.engine.asked) < 2 + 4:  # texts that spend what is left
                chat(ours)
            with pytest.raises(openai.RateLimitError, match="at most 60 tokens of one client in a minute") as spent:
                chat(ours)
            assert int(spent.value.response.headers["retry-after"]) >= 1
            assert chat(theirs).choices[0].message.content == "a b c"  # each has its own


def test_base64_is_what_their_client_asks_for():
    vector = np.float32([1, -2, 0.5])
    from phlox.serving.openai._embeddings import _written

    assert np.frombuffer(base64.b64decode(_written(vector, "base64")), "<f4").tolist() == [1, -2, 0.5]
    assert _written(vector, "float") is vector


def test_what_waits_in_a_thread_is_free_again(client):
    found = []
    threads = [threading.Thread(target=lambda: found.append(chat(client).choices[0].message.content)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [TEXT] * 6
