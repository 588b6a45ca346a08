"""Speech from text, made on this machine by eSpeak NG: ``samples, rate = speak("hello")``.

The synthesiser and its voices come as a package: ``pip install espeakng_loader``. A voice is never the same twice, but
a program that says the same things in the same order hears the same samples.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

_SYNCHRONOUS, _RETURN_ERRORS, _UTF8, _RATE, _PITCH = 2, 0x8000, 1, 1, 3  # of espeak-ng's speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    """The library, ready to speak, and its sample rate in Hz."""
    try:
        from espeakng_loader import get_data_path, get_library_path
    except ImportError as error:
        raise ImportError("speech takes the package espeakng_loader: pip install espeakng_loader") from error
    library = ctypes.CDLL(get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, get_data_path().encode(), _RETURN_ERRORS)
    if rate < 0:
        raise OSError(f"espeak-ng found no voices in {get_data_path()}: install espeakng_loader anew")
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))
    return library, rate


def speak(text: str, voice: str = "en-us", *, speed: int = 165, pitch: int = 50) -> tuple[np.ndarray, int]:
    """The samples (time,) float32 in [-1, 1] of a text spoken, and their rate in Hz (22050).

    Arguments:
        voice: a language such as "en-us" or "de", with a variant after a plus: "en-us+f3" (f1 to f5, m1 to m8).
        speed: words per minute, from 80.
        pitch: from 0 to 100.
    """
    library, rate = _espeak()
    parts: list[np.ndarray] = []

    @_CALLBACK
    def take(samples, count, events):  # noqa: ANN001 - called from C
        if count > 0:
            parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(take)
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"espeak-ng has no voice {voice!r}: choose a language such as 'en-us', 'de' or 'en-us+f3'")
    for parameter, value in ((_RATE, speed), (_PITCH, pitch)):
        library.espeak_SetParameter(parameter, value, 0)
    said = text.encode()
    library.espeak_Synth(ctypes.c_char_p(said), ctypes.c_size_t(len(said) + 1), 0, 0, 0, _UTF8, None, None)
    return np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.float32) / 32768, rate
