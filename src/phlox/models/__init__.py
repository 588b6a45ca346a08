"""Ready architectures with anybody's weights: made by name, read from a folder or the hub, written back.

_catalogue    create, list and names: the families there are, models by name
_loading      load: a folder of the hub's as a model
_timm         what timm's config.json means
_hub          folders by name, on this machine or on the hub
_saving       save: a folder that other libraries read
_family       what the room knows of a family: its config, model, names and variants
_config       what a model is built from, as config.json writes it
_model        what all models have in common: features, head, parts by depth
_depth        freezing, rates and thawing by depth
_activations  activations by the names that configs use
preprocessing/   images and sound as a model wants them, by its config
vision/       models of images
language/     models of text
multimodal/   models of images and text
speech/       models of speech
tables/       models of tables
generation/   text from language models: px.generate
diffusion/    noise schedules, losses, samplers, and two networks: DiT and the U-Net
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.models import diffusion
from phlox.models._catalogue import create, names
from phlox.models._catalogue import list_models as list
from phlox.models._config import Config
from phlox.models._depth import freeze_depth, layer_decay, unfreezing
from phlox.models._family import Family
from phlox.models._loading import load
from phlox.models._model import ImageClassifier, Model
from phlox.models._saving import save
from phlox.models.generation._generate import Generated, generate

# Names imported as themselves serve the rooms above, and no user: not in __all__.
from phlox.models.generation._settings import stops_of as stops_of
from phlox.models.language._config import WRITING as WRITING
from phlox.models.language._config import TextConfig
from phlox.models.language._model import TextModel
from phlox.models.language._model import at_token as at_token
from phlox.models.language._t5 import T5, T5Config
from phlox.models.language.decoders._decoder import Decoder
from phlox.models.language.decoders._gemma import Gemma, Gemma2Config, Gemma3Config
from phlox.models.language.decoders._gpt2 import GPT2, GPT2Config
from phlox.models.language.decoders._llama import Llama, LlamaConfig
from phlox.models.language.decoders._mistral import Mistral, MistralConfig
from phlox.models.language.decoders._mixtral import Mixtral, MixtralConfig
from phlox.models.language.decoders._phi3 import Phi3, Phi3Config
from phlox.models.language.decoders._qwen2 import Qwen2, Qwen2Config
from phlox.models.language.decoders._qwen3 import Qwen3, Qwen3Config
from phlox.models.language.decoders._qwen_moe import Qwen2MoeConfig, Qwen3MoeConfig, QwenMoe
from phlox.models.language.encoders._bert import BERT, BERTConfig
from phlox.models.language.encoders._distilbert import DistilBERT, DistilBERTConfig
from phlox.models.language.encoders._encoder import Encoder
from phlox.models.language.encoders._modernbert import ModernBert, ModernBertConfig
from phlox.models.language.encoders._roberta import RoBERTa, RoBERTaConfig, XLMRoBERTaConfig
from phlox.models.language.encoders._sentences import SentenceEncoder, sentence_encoder
from phlox.models.multimodal._clip import CLIP, CLIPConfig, CLIPText, CLIPTextConfig, CLIPVision, CLIPVisionConfig
from phlox.models.multimodal._pair import ImageTextModel
from phlox.models.multimodal._siglip import (
    Siglip,
    SiglipConfig,
    SiglipText,
    SiglipTextConfig,
    SiglipVision,
    SiglipVisionConfig,
)
from phlox.models.preprocessing._audio import AudioPreprocessor
from phlox.models.preprocessing._choosing import preprocessor
from phlox.models.preprocessing._preprocessor import ImagePreprocessor
from phlox.models.preprocessing._resize import resize
from phlox.models.speech._config import SpeechConfig
from phlox.models.speech._wav2vec2 import Wav2Vec2, Wav2Vec2Config
from phlox.models.speech._whisper import Whisper, WhisperConfig, WhisperStates
from phlox.models.tables._ft_transformer import FTTransformer, FTTransformerConfig
from phlox.models.vision._convnext import ConvNext, ConvNextConfig, ConvNextV2Config
from phlox.models.vision._deit import DeiT, DeiTConfig
from phlox.models.vision._detr import Detr, DetrOutput
from phlox.models.vision._detr_config import DetrConfig
from phlox.models.vision._detr_loss import detections, detr_loss, detr_losses
from phlox.models.vision._dinov2 import DINOv2, DINOv2Config, DINOv2RegistersConfig
from phlox.models.vision._efficientnet import EfficientNet, EfficientNetConfig
from phlox.models.vision._mobilenet_v3 import MobileNetV3, MobileNetV3Config
from phlox.models.vision._resnet import ResNet, ResNetConfig
from phlox.models.vision._swin import Swin, SwinConfig
from phlox.models.vision._unet import UNet, UNetConfig
from phlox.models.vision._vit import ViT, ViTConfig

__all__ = [
    "BERT",
    "CLIP",
    "GPT2",
    "T5",
    "AudioPreprocessor",
    "BERTConfig",
    "CLIPConfig",
    "CLIPText",
    "CLIPTextConfig",
    "CLIPVision",
    "CLIPVisionConfig",
    "Config",
    "ConvNext",
    "ConvNextConfig",
    "ConvNextV2Config",
    "DINOv2",
    "DINOv2Config",
    "DINOv2RegistersConfig",
    "Decoder",
    "DeiT",
    "DeiTConfig",
    "Detr",
    "DetrConfig",
    "DetrOutput",
    "DistilBERT",
    "DistilBERTConfig",
    "EfficientNet",
    "EfficientNetConfig",
    "Encoder",
    "FTTransformer",
    "FTTransformerConfig",
    "Family",
    "GPT2Config",
    "Gemma",
    "Gemma2Config",
    "Gemma3Config",
    "Generated",
    "ImageClassifier",
    "ImagePreprocessor",
    "ImageTextModel",
    "Llama",
    "LlamaConfig",
    "Mistral",
    "MistralConfig",
    "Mixtral",
    "MixtralConfig",
    "MobileNetV3",
    "MobileNetV3Config",
    "Model",
    "ModernBert",
    "ModernBertConfig",
    "Phi3",
    "Phi3Config",
    "Qwen2",
    "Qwen2Config",
    "Qwen2MoeConfig",
    "Qwen3",
    "Qwen3Config",
    "Qwen3MoeConfig",
    "QwenMoe",
    "ResNet",
    "ResNetConfig",
    "RoBERTa",
    "RoBERTaConfig",
    "SentenceEncoder",
    "Siglip",
    "SiglipConfig",
    "SiglipText",
    "SiglipTextConfig",
    "SiglipVision",
    "SiglipVisionConfig",
    "SpeechConfig",
    "Swin",
    "SwinConfig",
    "T5Config",
    "TextConfig",
    "TextModel",
    "UNet",
    "UNetConfig",
    "ViT",
    "ViTConfig",
    "Wav2Vec2",
    "Wav2Vec2Config",
    "Whisper",
    "WhisperConfig",
    "WhisperStates",
    "XLMRoBERTaConfig",
    "create",
    "detections",
    "detr_loss",
    "detr_losses",
    "diffusion",
    "freeze_depth",
    "generate",
    "layer_decay",
    "list",
    "load",
    "names",
    "preprocessor",
    "resize",
    "save",
    "sentence_encoder",
    "unfreezing",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
