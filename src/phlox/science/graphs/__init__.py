"""Graphs: nodes that hear from their neighbours.

_graph         Graph, of one or of several
_gathering     batch_graphs, pad_graph, unbatch_graphs; add_self_loops, to_undirected
_message       MessagePassing, what all layers have in common; how messages are put together
_chain         GraphChain, layers on nodes in a row; GraphPool, one row for each graph
_convolutions  GCNConv, SAGEConv
_attention     GATConv, GATv2Conv
_equivariant   EGNN, of EGCL: features and positions that turn with their input
"""
