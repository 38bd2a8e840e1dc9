"""Starting our own processes: each runs a module of this very package.

The child gets the path that its interpreter makes. The package itself comes from the file that the
parent has it from, not from a search: a folder on the path would have to stand before another
installed version, and so before the standard library, whose modules its contents might hide.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PACKAGE = __name__.partition(".")[0]
_START = """\
import importlib, importlib.util, sys
package, file, path, module = sys.argv[1:5]
del sys.argv[1:5]
sys.path.append(path)  # where the parent may have found what the package needs
spec = importlib.util.spec_from_file_location(package, file)
sys.modules[package] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[package])
importlib.import_module(package + "." + module).main()
"""


def start(module: str, fd: int, *args: str) -> subprocess.Popen[bytes]:
    """A process that runs `main()` of `module`, named within the package; it inherits `fd`, whose
    number is `sys.argv[1]`. Raises OSError where the system cannot start one."""
    file = sys.modules[_PACKAGE].__file__
    assert file is not None
    path = str(Path(file).resolve().parent.parent)
    # -P: a module in the current directory must not stand in for one of ours.
    command = [sys.executable, "-P", "-c", _START, _PACKAGE, file, path, module, str(fd), *args]
    return subprocess.Popen(command, pass_fds=[fd])
