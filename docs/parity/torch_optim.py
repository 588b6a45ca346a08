"""torch.optim, its schedulers and its averaging."""

from __future__ import annotations

from parity.rows import Section, Source, absent, have

DECAY = "`weight_decay=` is `px.optim.WeightDecay` before it in a chain"

RULES = Section(
    "Optimisers",
    (
        have("Optimizer", "px.Optimizer", "a class that holds any rule; `px.optim.Rule` is what one subclasses"),
        have("SGD", "px.optim.Momentum", f"`px.optim.Descent` without momentum; no dampening; {DECAY}"),
        have("Adam", "px.optim.Adam", f"`amsgrad=True` is `px.optim.AMSGrad`; {DECAY}"),
        have("AdamW", "px.optim.AdamW", "`mask=` says what decays"),
        have("Adamax", "px.optim.AdaMax", DECAY),
        have("NAdam", "px.optim.NAdam", DECAY),
        have("RAdam", "px.optim.RAdam", DECAY),
        have("Adagrad", "px.optim.AdaGrad", f"`lr_decay=` is a schedule, `px.optim.inverse`; {DECAY}"),
        have("Adadelta", "px.optim.AdaDelta", DECAY),
        have("RMSprop", "px.optim.RMSProp", f"`centred=` for `centered=`; {DECAY}"),
        have("Rprop", "px.optim.Rprop"),
        have("ASGD", "px.optim.ASGD", '`opt.slot("average")` gives the mean by path'),
        have("Adafactor", "px.optim.Adafactor"),
        have(
            "Muon",
            "px.optim.Muon",
            "orthogonalises in float32, PyTorch in bfloat16; weights are (in, out), and convolutions have it too",
        ),
        have("LBFGS", "px.optim.LBFGS", "always with a search by the strong Wolfe conditions; the loss is `value_fn=`"),
        absent("SparseAdam", "JAX has no sparse gradients: the compiler scatters into a dense one"),
        absent("swap_in_optimizer_params_and_state", "weights and state are loaded in place by `px.load_state_dict`"),
    ),
    (
        "Parameter groups are `px.optim.groups`, by path; `zero_grad` has nothing to do, since gradients are values.",
        "`maximize=True` is a minus before the loss. A closure is `value_fn=`, a function of the model.",
        "A rate of 0-d state is set by `opt.adjust(learning_rate=…)`; nothing else is changed in a running optimiser.",
    ),
)

SCHEDULERS = Section(
    "Schedules (lr_scheduler)",
    (
        have("lr_scheduler.LRScheduler", "px.optim.Schedule", "a function of the step, given as the rate; no `step()`"),
        have("lr_scheduler.StepLR", "px.optim.step_decay"),
        have("lr_scheduler.MultiStepLR", "px.optim.multi_step"),
        have("lr_scheduler.ConstantLR", "px.optim.sequence", "of two numbers"),
        have("lr_scheduler.LinearLR", "px.optim.linear", "takes the values, not factors of one"),
        have("lr_scheduler.ExponentialLR", "px.optim.exponential"),
        have("lr_scheduler.PolynomialLR", "px.optim.polynomial"),
        have("lr_scheduler.CosineAnnealingLR", 'px.optim.cosine_annealing(value, steps, end, after="bounce")'),
        have("lr_scheduler.CosineAnnealingWarmRestarts", "px.optim.cosine_restarts"),
        have("lr_scheduler.OneCycleLR", "px.optim.one_cycle", "of one number; give the momentum a schedule of its own"),
        have("lr_scheduler.CyclicLR", "px.optim.cyclic", "of one number; give the momentum a schedule of its own"),
        have(
            "lr_scheduler.LambdaLR", "px.optim.product", "of the rate and any function of the step, which is a schedule"
        ),
        have("lr_scheduler.MultiplicativeLR", "px.optim.multiplicative"),
        have("lr_scheduler.ChainedScheduler", "px.optim.product"),
        have("lr_scheduler.SequentialLR", "px.optim.sequence", "takes lengths, not milestones"),
        have("lr_scheduler.ReduceLROnPlateau", "px.optim.ReduceOnPlateau", "`plateau.update(opt, loss)`"),
    ),
    ("Steps are updates. `px.optim.stretched` counts epochs: `stretched(schedule, batches)`.",),
)

AVERAGING = Section(
    "Averaging (swa_utils)",
    (
        have(
            "swa_utils.AveragedModel swa_utils.get_ema_multi_avg_fn swa_utils.get_swa_multi_avg_fn "
            "swa_utils.get_ema_avg_fn swa_utils.get_swa_avg_fn",
            "px.AveragedModel",
            "`decay=` is exponential, without it all count alike; `px.EMA` and `px.SWA` in `px.fit`",
        ),
        have("swa_utils.SWALR", "px.SWA(learning_rate=…)", "a callback of `px.fit`"),
        have("swa_utils.update_bn", "px.update_batch_norm"),
    ),
)

SOURCE = Source(
    "torch.optim",
    "Of PyTorch 2.13.",
    (RULES, SCHEDULERS, AVERAGING),
)
