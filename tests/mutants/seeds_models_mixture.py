"""Seeded bugs in decoders with experts, Mixtral and Qwen's: as in seeds_layers.py."""

_MIXTRAL, _QWEN = "tests/models/test_mixtral.py::", "tests/models/test_qwen_moe.py::"
_LEARNS = "test_answers_and_learns_as_the_hub_s"
_LOSS = (_MIXTRAL + "test_the_router_s_loss_and_what_it_teaches_routers_is_the_hub_s",)
_MIXTURE, _OF_MIXTRAL, _OF_QWEN = (
    f"models/language/decoders/{name}.py" for name in ("_mixture", "_mixtral", "_qwen_moe")
)

MUTANTS = [
    (
        "Mixtral: an expert's gate and what it lets through are swapped in files",
        _OF_MIXTRAL,
        (
            '.w1": f"{here}.experts.gate",\n            f"{there}.experts.{{i}}.w2": f"{here}.experts.down",\n'
            '            f"{there}.experts.{{i}}.w3": f"{here}.experts.up"'
        ),
        (
            '.w1": f"{here}.experts.up",\n            f"{there}.experts.{{i}}.w2": f"{here}.experts.down",\n'
            '            f"{there}.experts.{{i}}.w3": f"{here}.experts.gate"'
        ),
        (_MIXTRAL + _LEARNS,),
    ),
    (
        "Mixtral: a window is one key too long",
        _OF_MIXTRAL,
        "config.sliding_window - 1 if",
        "config.sliding_window if",
        (_MIXTRAL + _LEARNS,),
    ),
    (
        "Mixtral: always two experts",
        _OF_MIXTRAL,
        "top_k=config.num_experts_per_tok",
        "top_k=2",
        (_MIXTRAL + "test_stretched_positions_and_a_tied_head",),
    ),
    (
        "routers are drawn by the layer's own spread",
        _MIXTURE,
        "self.router = Dense(dim, num_experts, bias=False, init=init)",
        "self.router = Dense(dim, num_experts, bias=False)",
        (_MIXTRAL + "test_fresh_experts_and_routers_are_drawn_as_the_config_says",),
    ),
    (
        "the router's loss counts tokens that pad",
        _MIXTURE,
        "return jnp.asarray(mask).astype(bool).astype(jnp.int32)",
        "return jnp.ones(shape, jnp.int32)",
        (_QWEN + "test_the_router_s_loss_is_the_hub_s",),
    ),
    (
        "the router's loss is added up over blocks",
        _MIXTURE,
        "jnp.maximum(jnp.sum(counts), 1) / len(routes)",
        "jnp.maximum(jnp.sum(counts), 1)",
        _LOSS,
    ),
    (
        "the router's loss counts the best expert alone",
        _MIXTURE,
        "F.top_k_routing(logits, top_k) > 0",
        "F.top_k_routing(logits, 1) > 0",
        _LOSS,
    ),
    (
        "Qwen: the shared expert has no gate",
        _MIXTURE,
        "beside = self.shared_gate(x) * self.shared(x)",
        "beside = self.shared(x)",
        (_QWEN + _LEARNS + "[second]",),
    ),
    (
        "Qwen: blocks with experts are counted from 0",
        _OF_QWEN,
        "(i + 1) % step == 0",
        "i % step == 0",
        (_QWEN + "test_which_blocks_have_experts_and_windows",),
    ),
    (
        "Qwen: the weights of chosen experts always sum to 1",
        _OF_QWEN,
        '"normalise": config.norm_topk_prob',
        '"normalise": True',
        (_QWEN + _LEARNS + "[second]",),
    ),
    (
        "Qwen: keys have no norm",
        _OF_QWEN,
        "qk_norm=norm",
        "qk_norm=None",
        (_QWEN + _LEARNS + "[third]",),
    ),
]
