"""s3fs and Moto must be there: without them no test of the area is skipped, all fail."""

import moto.server  # noqa: F401
import s3fs  # noqa: F401
