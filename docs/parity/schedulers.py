"""ParameterSchedulers.jl."""

from __future__ import annotations

from parity.rows import Section, absent, have

SCHEDULES = Section(
    "Schedules (ParameterSchedulers)",
    (
        have("Step", "px.optim.step_decay", "`every` may be a list of lengths, too"),
        have("Exp", "px.optim.exponential"),
        have("Poly", "px.optim.polynomial", "stays at its end; Flux's goes on below"),
        have("Inv", "px.optim.inverse"),
        have("Triangle Tri", "px.optim.triangle"),
        have("TriangleDecay2 TriDecay2", "px.optim.triangle_decay2"),
        have("TriangleExp TriExp", "px.optim.triangle_exp"),
        have("Sin", "px.optim.sine"),
        have("SinDecay2", "px.optim.sine_decay2"),
        have("SinExp", "px.optim.sine_exp"),
        have("CosAnneal Cos", "px.optim.cosine_annealing", '`after="restart"` for `restart = true`'),
        have("OneCycle", "px.optim.one_cycle", "PyTorch's numbers: rises for 0.3 of the steps, not 0.25"),
        have("Constant", "px.optim.constant"),
        have("Sequence", "px.optim.sequence"),
        have("Loop", "px.optim.loop"),
        have("Interpolator", "px.optim.stretched", "rounds down, since steps count from 0"),
        have("Shifted", "px.optim.shifted"),
        have("ComposedSchedule", "px.optim.composed"),
        have("Stateful next! reset! ScheduleIterator", "px.optim.Stateful", "`next(s)` and `s.reset()`"),
        absent("Scheduler", "a schedule is given to the rule in the place of a number: `px.optim.Adam(schedule)`"),
        absent("Lambda", "any function of the step is a schedule"),
    ),
    ("Steps count from 0, not from 1.",),
)
