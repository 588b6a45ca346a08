"""Images and sound on their way into a model: resized as Pillow does it, normalised, as a config says.

_filters                 Pillow's filters: the pixels that an output pixel is made of, and their shares
_windows                 the shares as matrices over windows of the image, exact in float32
_resize                  resize: one axis after the other, each rounded to 8 bits
_sizes                   to which size, and where the crop begins
_images                  what counts as images, and what is said about the rest
_preprocessor            ImagePreprocessor: the steps in their order
_checks                  the fields of a preprocessor, checked
_config                  a dict, a file or a folder, by which of the readers below
_entries                 numbers, sizes and flags of a config, checked
_huggingface _types      a preprocessor_config.json; the types of processors and their defaults
_timm                    a pretrained_cfg
_writing                 a preprocessor as a config again
_audio _waveforms        AudioPreprocessor: log-mel spectrograms and waveforms of one length
_audio_config            the config of a feature extractor, read and written
_choosing                preprocessor: one or the other, by what a config names
"""
