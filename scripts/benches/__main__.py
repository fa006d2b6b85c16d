"""``python -m benches NAME …`` runs the bench of that name."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> int:
    """Run the bench that the first argument names; return its exit code."""
    names = sorted(
        path.stem.replace("_", "-")
        for path in Path(__file__).parent.glob("*.py")
        if not path.stem.startswith("_") and "def main(arguments" in path.read_text()
    )
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: scripts/bench NAME [--help]; NAME is one of: {', '.join(names)}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"benches.{sys.argv[1].replace('-', '_')}")
    result: int = module.main(sys.argv[2:])
    return result


if __name__ == "__main__":
    sys.exit(main())
