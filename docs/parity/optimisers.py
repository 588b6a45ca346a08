"""Optimisers.jl, which Flux re-exports."""

from __future__ import annotations

from parity.rows import Section, absent, have

OPTIMISERS = Section(
    "Optimisers",
    (
        have("Descent", "px.optim.Descent"),
        have("Momentum", "px.optim.Momentum", "the rate stands outside the velocity, as in PyTorch"),
        have("Nesterov", "px.optim.Nesterov", "the rate stands outside the velocity, as in PyTorch"),
        have("Rprop", "px.optim.Rprop", "two numbers each for `ell` and `gamma`"),
        have("RMSProp", "px.optim.RMSProp", "PyTorch's numbers: 0.01 and 0.99, for 0.001 and 0.9"),
        have("Adam", "px.optim.Adam", "betas are two numbers"),
        have("RAdam", "px.optim.RAdam", "rectifies where ρ > 5, as PyTorch, for ρ > 4"),
        have("AdaMax", "px.optim.AdaMax", "ε is in the maximum, as in PyTorch; rate 0.002 for 0.001"),
        have("OAdam", "px.optim.OAdam"),
        have("AdaGrad", "px.optim.AdaGrad", "PyTorch's numbers: rate 0.01, sums that start from 0, ε = 1e-10"),
        have("AdaDelta", "px.optim.AdaDelta", "ε = 1e-6, as in PyTorch, for 1e-8"),
        have("AMSGrad", "px.optim.AMSGrad", "corrects both moments, as PyTorch"),
        have("NAdam", "px.optim.NAdam", "has the paper's schedule of momentum; Flux has none"),
        have("AdamW", "px.optim.AdamW", "decay 0.01 by default, as in PyTorch, for Flux's 0; it is times the rate"),
        have("AdaBelief", "px.optim.AdaBelief"),
        have("Lion", "px.optim.Lion", "the paper's formula and numbers; Flux has 1 - β₂ for β₂"),
        have("Apollo", "px.optim.Apollo", "its decay is times the rate; projections are drawn from `seed` and path"),
        have(
            "NormGrowthCap",
            "px.optim.NormGrowthCap",
            "does not throw on NaN; `px.watch_nonfinite` finds it",
        ),
        have("WeightDecay", "px.optim.WeightDecay", "`mask=` says what decays"),
        have("SignDecay", "px.optim.SignDecay", "`mask=` says what decays"),
        have("ClipGrad", "px.optim.ClipGrad"),
        have("ClipNorm", "px.optim.ClipNorm", "each array by its own norm; `px.optim.ClipGlobalNorm` all by one"),
        have("OptimiserChain", "px.optim.chain"),
        have("AccumGrad", "px.optim.AccumGrad(rule, every=n)", "around the rule, not before it in a chain"),
        have("MixedPrecision", "px.optim.MixedPrecision(rule)", "wide weights are float32, or wider as the model's"),
        have("AbstractRule", "px.optim.Rule", "any optax transformation is a rule for `px.Optimizer`, too"),
        have("setup", "px.Optimizer", "the optimiser holds its state; there is no tree of states"),
        have("update!", "px.Optimizer.update", "in place: `opt.update(model, grads)`"),
        absent("update apply! init", "they are optax's `update` and `init` of any transformation"),
        have("adjust!", "px.Optimizer.adjust", "`opt.adjust(learning_rate=…)`"),
        have("freeze!", "px.freeze", "freezes the model, not the optimiser's state; no gradient is computed then"),
        have("thaw!", "px.thaw"),
        have("trainables trainable", "px.split", "`px.split(model)[0]` is a dict from path to array"),
        have("destructure", "px.destructure", "the inverse refuses to lose anything"),
        have("KeyPath haskeypath getkeypath", "px.paths", "paths are text: `layers.0.weight`"),
    ),
    (
        "Numbers are PyTorch's where it has the rule. `eta` is `learning_rate`, `epsilon` `eps`.",
        "Adam and its kin count updates from when an array was adopted: see `px.Optimizer.sync`.",
    ),
)
