# Flux (Julia).

using Flux

model = Chain(
    Conv((3, 3), 1 => 8; pad=1, bias=false),
    BatchNorm(8, relu),
    MaxPool((2, 2)),
    Conv((3, 3), 8 => 16, relu; pad=1),
    GlobalMeanPool(),
    Flux.flatten,
    Dropout(0.5),
    Dense(16 => 10),
)
opt = Flux.setup(Adam(1f-3), model)

function step!(model, opt, x, y)  # x (width, height, channel, batch), y a one-hot matrix (10, batch)
    loss, grads = Flux.withgradient(model) do m
        Flux.logitcrossentropy(m(x), y)
    end
    Flux.update!(opt, model, grads[1])
    return loss
end

predict(x) = model(x)  # infers, as in Phlox, unless trainmode!(model) was called

# --- weights ---

# (w, h, in, out), flipped -> (h, w, in, out)
conv(w) = permutedims(reverse(w; dims=(1, 2)), (2, 1, 3, 4))

to_phlox(model) = Dict(
    "layers.0.weight" => conv(model[1].weight),
    "layers.1.scale" => model[2].γ,
    "layers.1.bias" => model[2].β,
    "layers.1.mean" => model[2].μ,
    "layers.1.var" => model[2].σ²,
    "layers.3.weight" => conv(model[4].weight),
    "layers.3.bias" => model[4].bias,
    "layers.7.weight" => permutedims(model[8].weight),  # (out, in) -> (in, out)
    "layers.7.bias" => model[8].bias,
)

# using NPZ; npzwrite("from_flux.npz", to_phlox(cpu(model)))
