"""Language models: texts of many clients, written side by side; and models of sentences.

_engine        px.serving.LanguageEngine: the thread that writes them, read it first
_model         px.serving.LanguageModel: an engine with its tokenizer, as it is served
_sentences     px.serving.Sentences: texts to vectors, as it is served
_opening       models' folders as either
_asked         what is asked, and the pieces that are answered
_running       a text as the one who asked sees it
_checking      what can't be written
_preparing     a model with its adapters, weights laid out as they are multiplied fastest
_memory        what slots take, told before anything is made
_scheduler     which tokens are computed next: of texts, slots, prefixes and turns, without arrays
_text          a text while it waits and is written
_turns         whose turn it is
_prefixes      which slot begins as a prompt does
_programs      tokens into slots, scores out of them: what runs on the device
_sampling      a token for each of several texts, by rules of its own
_writing       what one text brings to that choice
"""
