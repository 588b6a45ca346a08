"""Physics-informed training: networks that are taught an equation, at points where nothing was measured.

_pinn          PINN, a network with what must hold of it; physics_loss, physics_residuals
_field         Field: a network at points, and its derivatives by the names of coordinates
_polynomials   derivatives of many orders at once, by truncated Taylor polynomials
_balance       weights of terms from norms of gradients, or from the neural tangent kernel
_causal        Causal: what is early counts first
_box           Box: a region, and points in it: uniform, Sobol, where residuals are large
_hard          HardConstraint, and the layers before a network: FourierFeatures, PeriodicFeatures
_parts         DomainDecomposition: a network for each part of a region
_minimise      minimise: BFGS, L-BFGS and Levenberg–Marquardt on a Module
"""
