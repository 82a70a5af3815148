"""placeholder"""

from typing import Any

soak: Any = None
