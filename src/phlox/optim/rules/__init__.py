"""Rules: what is subtracted from an array, given its gradient.

_rule                             what a rule is; read it first
_numbers                          its numbers: constants, state that can be set, schedules
_applied                          one formula on one array, in 16 bits and complex too
_choice                           which arrays a rule means
_descent _adam                    the rules that see components
_adaptive                         running means of squares, by component or factored
_adam_kernel                      Adam in one pass over memory
_matrix _lbfgs                    rules that see matrices; L-BFGS with its line search
_gradients                        rules that change gradients on their way: decay, clipping
_combined _groups                 rules made of rules; other rules for other parts
_eight_bit _blocks                moments kept in 8 bits; how
_habits                           what people of other libraries write for a rule
"""
