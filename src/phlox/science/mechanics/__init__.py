"""Mechanics: motion by energies that networks learn.

_hamiltonian   HamiltonianField; SymplecticODE, in steps that keep areas of phase space
_lagrangian    LagrangianField, in any coordinates
_symplectic    SympNet, a chain of shears
_energy        energies of states, and their slopes
"""
