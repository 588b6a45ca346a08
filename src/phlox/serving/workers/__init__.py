"""Workers: several processes behind one port.

_supervisor                 px.serving.Workers: starts them, looks after them, ends them; read it first
_restarts                   when one that ended is started again
_worker _told               what each of them runs, and what it is told
_place                      what a worker knows of the others: when it may take a connection, whether all are ready
_board                      numbers that all see: who serves, with how many connections
_files                      where things lie in the folder that all share
_orders _shared             what a client orders of one worker is done by all, in one order
_sums                       numbers for Prometheus, added up
"""
