"""Pages: a run, or several beside each other, as one HTML file that needs nothing else.

_report _compare     what stands on the page of a run; on that of several
_parts               tables, matrices, pictures and trees
_chart               curves as SVG
_frame               the page around all that, and its style
"""
