"""What models of other libraries are asked for, and what one writes here; a test compares ``docs/coming-from.md``."""

from __future__ import annotations

_GRADIENTS = "write loss, grads = px.value_and_grad(loss_fn)(model)"
_MODE = "leave it out: a model trains inside px.grad and infers elsewhere"
_ARRAYS = "write px.paths(model): every array by its path; px.split(model)[0] has those that train"
_LOOP = "write px.fit(model, data, loss=…, optimizer=…)"
_PARTS = "write px.modules(model): every Module by its path"

METHODS: dict[str, str] = {
    # PyTorch
    "add_module": "assign it: model.name = layer",
    "apply_": "write px.map(f, model)",
    "backward": _GRADIENTS,
    "bfloat16": "write model = px.bf16(model)",
    "buffers": "write px.split(model)[1]: State and what is frozen, by path",
    "children": _PARTS,
    "cpu": "write model = px.to(model, px.devices('cpu')[0])",
    "cuda": "write model = px.to(model, device); arrays are made on the accelerator anyway",
    "double": "write model = px.f64(model)",
    "eval": f"{_MODE}; px.testmode(model) pins it",
    "float": "write model = px.f32(model)",
    "half": "write model = px.f16(model)",
    "load_state_dict": "write px.load_state_dict(model, arrays)",
    "named_buffers": "write px.split(model)[1]: State and what is frozen, by path",
    "named_children": _PARTS,
    "named_modules": _PARTS,
    "named_parameters": _ARRAYS,
    "parameters": f"{_ARRAYS}; an optimiser is px.Optimizer(px.optim.Adam(), model)",
    "register_buffer": "annotate it in the class, mean: px.State, and assign it: self.mean = array",
    "register_forward_hook": "write px.capture(model, x): activations by path",
    "register_full_backward_hook": "write px.gradient_hook(x, f) where the gradient shall be seen",
    "register_module": "assign it: model.name = layer",
    "register_parameter": "assign it: self.weight = array; a floating array trains",
    "requires_grad_": "write px.freeze(model), or px.freeze(model.part)",
    "state_dict": "write px.state_dict(model)",
    "to": "write model = px.to(model, device), or px.bf16(model) for a dtype",
    "train": f"{_MODE}; px.trainmode(model) pins it",
    "zero_grad": "leave it out: gradients are returned, not accumulated",
    # Keras
    "add": "build it whole: px.Chain(layer, …), or model.layers.append(layer)",
    "compile": f"{_LOOP}: there is no compile() before it; px.jit(f) compiles a function",
    "count_params": "write px.summary(model, x), or print(model)",
    "evaluate": "write px.evaluate(model, data, loss=…)",
    "fit": _LOOP,
    "get_weights": "write px.state_dict(model)",
    "load_weights": "write px.load_state_dict(model, arrays), or model = px.load(path)",
    "predict": "write px.predict(model, data), or model(x)",
    "save": "write px.save(model, path)",
    "save_weights": "write px.weights.save_safetensors(model, path)",
    "set_weights": "write px.load_state_dict(model, arrays)",
    "summary": "write px.summary(model, x)",
    "trainable": "write px.freeze(model.part), or px.thaw(model.part)",
    "trainable_variables": _ARRAYS,
    "trainable_weights": _ARRAYS,
    "train_on_batch": f"{_LOOP}; a step of your own is opt.update(model, grads), opt = px.Optimizer(rule, model)",
    "variables": _ARRAYS,
    # Flax
    "init": "leave it out: a model is made with its arrays; px.split(model) gives them",
    "apply": "write px.apply(model, params, state, x), or model(x)",
    "sow": "write px.capture(model, x): activations by path",
    "tabulate": "write px.summary(model, x)",
}

OPTIMIZER_METHODS: dict[str, str] = {
    "step": "write opt.update(model, grads), with grads from px.grad or px.value_and_grad",
    "zero_grad": "leave it out: gradients are returned, not accumulated",
    "apply": "write opt.update(model, grads)",
    "apply_gradients": "write opt.update(model, grads)",
    "apply_updates": "write opt.update(model, grads), which changes the model in place",
    "minimize": "write loss, grads = px.value_and_grad(loss_fn)(model), then opt.update(model, grads)",
    "init": "write px.Optimizer(rule, model), which makes the state",
    "param_groups": "write opt.adjust(learning_rate=…), or build it with px.optim.groups([(pattern, rule), …])",
    "add_param_group": "write opt.sync(model) once the model has grown; px.optim.groups has groups of arrays",
    "lr": "write opt.learning_rate, and opt.adjust(learning_rate=…)",
    "tx": "write opt.rule",
}
