"""Exploring: a page on which a person probes a model; built on Bokeh, which is loaded when a page is made.

_explorer          px.interpret.explore: data, models and a server; read it first
_probe             what is probed: answers, what can be drawn, slices
_reading           what is given as data, as one of three kinds
_observations      the kinds: rows of a table, pictures, texts
_subject           a model with its answers, read as classes or as numbers
_attributing       what made a model answer so, for one observation
_painting          many points as one picture
_session           what one visitor looks at: a picked observation, its changes, a brush
_worker            the thread in which models run
_server            a Bokeh server that answers its own machine alone
_page              panels put on a page
panels/            the parts of the page
page.html          where they stand, and how they look
"""
