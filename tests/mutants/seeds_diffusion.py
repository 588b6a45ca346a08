"""Seeded bugs in boxes, in the metric of detection and in diffusion."""

_BOXES = "tests/nn/functional/test_boxes.py::"
_MAP = "tests/metrics/test_mean_average_precision.py::"
_DIFFUSION = "tests/models/test_diffusion.py::"
_NETWORKS = "tests/models/test_diffusion_networks.py::"

MUTANTS = [
    (
        "suppression drops boxes that equal the threshold",
        "nn/functional/boxes/_nms.py",
        "boxes)[0] > threshold)",
        "boxes)[0] >= threshold)",
        (_BOXES + "test_a_box_that_equals_the_threshold_stays_and_what_is_no_number_is_absent",),
    ),
    (
        "suppression reaches over labels",
        "nn/functional/boxes/_nms.py",
        " & (groups == groups[at])",
        "",
        (_BOXES + "test_suppression_is_the_plain_loop",),
    ),
    (
        "the generalised IoU divides by the union",
        "nn/functional/boxes/_iou.py",
        "_ratio(hull - union, hull)",
        "_ratio(hull - union, union)",
        (_BOXES + "test_overlap_of_each_with_each_and_its_gradient",),
    ),
    (
        "a crowd takes one detection alone",
        "metrics/_matching.py",
        "(truth.crowd | ~taken)",
        "~taken",
        (_MAP + "test_the_twelve_numbers_and_each_class",),
    ),
    (
        "an object that does not count is taken before one that does",
        "metrics/_matching.py",
        "jnp.where(counts.any(-1, keepdims=True), counts, free)",
        "free",
        (_MAP + "test_other_pictures_merged",),
    ),
    (
        "detections outside the span of areas are misses",
        "metrics/_matching.py",
        "jnp.take_along_axis(ignored, at, axis=1), out[:, None])",
        "jnp.take_along_axis(ignored, at, axis=1), False)",
        (_MAP + "test_the_twelve_numbers_and_each_class",),
    ),
    (
        "a recall that COCO rounds up is reached exactly",
        "metrics/_detection.py",
        "level - (jnp.asarray(_LATE)[level] & (level * total == _LEVELS * hits))",
        "level",
        (_MAP + "test_recalls_are_rounded_as_coco_rounds_them",),
    ),
    (
        "zero terminal SNR forgets to scale back",
        "models/diffusion/_schedules.py",
        "(root - root[-1]) * root[0] / (root[0] - root[-1])",
        "root - root[-1]",
        (_DIFFUSION + "test_schedules",),
    ),
    (
        "ddpm's mean weighs x by the share there",
        "models/diffusion/_ddpm.py",
        "np.sqrt(here / there) * (1 - there) / (1 - here)",
        "np.sqrt(here / there) * (1 - here) / (1 - there + 1e-9)",
        (_DIFFUSION + "test_ddpm_step_by_step",),
    ),
    (
        "ddim keeps all the noise it expects beside what it draws",
        "models/diffusion/_ddpm.py",
        "np.maximum(1 - there - spread, 0)",
        "(1 - there)",
        (_DIFFUSION + "test_ddim_step_by_step", _DIFFUSION + "test_drawn_noise_reaches_the_gaussian"),
    ),
    (
        "the noise is not what is left of clipped data",
        "models/diffusion/_predictions.py",
        "return clean, (x - signal * clean) / spread",
        "return clean, noise",
        (_DIFFUSION + "test_ddim_step_by_step",),
    ),
    (
        "Heun's second slope is the first",
        "models/diffusion/_flow.py",
        "velocity(x + (then - now) * first, then)",
        "first",
        (_DIFFUSION + "test_a_flow_reaches_the_gaussian_at_its_order",),
    ),
    (
        "guidance starts from the condition",
        "models/diffusion/_guidance.py",
        "return _alike(where, free + ",
        "return _alike(where, given + ",
        (_DIFFUSION + "test_guidance_is_the_difference_enlarged",),
    ),
    (
        "rows before columns in DiT's positions",
        "models/diffusion/_dit.py",
        "for p in (column, row)",
        "for p in (row, column)",
        (_NETWORKS + "test_dit",),
    ),
    (
        "patches are put together transposed",
        "models/diffusion/_dit.py",
        "transpose(0, 1, 3, 2, 4, 5)",
        "transpose(0, 1, 4, 2, 3, 5)",
        (_NETWORKS + "test_dit",),
    ),
    (
        "the way up takes the first that was skipped",
        "models/diffusion/_unet_blocks.py",
        "skipped.pop()",
        "skipped.pop(-1 if skipped[0].shape != skipped[-1].shape else 0)",
        (_NETWORKS + "test_unet_of_ddpm",),
    ),
    (
        "labels are dropped outside training too",
        "models/diffusion/_time.py",
        "if self.training and self.dropout:",
        "if self.dropout:",
        (_DIFFUSION + "test_labels_are_dropped_in_training_alone",),
    ),
    (
        "guidance goes along the last axis",
        "models/diffusion/_guidance.py",
        "scale.reshape(scale.shape + (1,) * (free.ndim - 1))",
        "scale",
        (_DIFFUSION + "test_each_example_has_its_own_guidance",),
    ),
    (
        "times are drawn in 16 bits",
        "models/diffusion/_losses.py",
        "wide = jnp.promote_types(x.dtype, jnp.float32)",
        "wide = x.dtype",
        (_DIFFUSION + "test_times_in_16_bits_are_as_many_and_never_the_ends",),
    ),
]
