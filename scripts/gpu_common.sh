# Sourced by the scripts for a GPU machine: a python that can do the work, and what the machine is.
# No network: what is missing is named, and nothing is fetched.

fail() { echo "$(basename "$0"): $*" >&2; exit 2; }

choose_python() {  # $PYTHON, or the environment's own where its torch sees CUDA, or that of the clone; $1: no CUDA needed
  local candidate found=""
  for candidate in ${PYTHON:-python python3 .venv/bin/python}; do
    command -v "$candidate" >/dev/null || continue
    if "$candidate" -c "import sys, torch; sys.exit(not ($1 or torch.cuda.is_available()))" 2>/dev/null; then
      found="$candidate"
      break
    fi
  done
  [ -n "$found" ] || fail "${PYTHON:-no python here}: no torch that sees CUDA; set PYTHON to one that has it"
  PYTHON="$found"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$PYTHON is older than Python 3.11"
  local missing
  missing=$("$PYTHON" -c '
import importlib.util
names = ("numpy", "scipy", "sklearn", "safetensors", "pydantic", "tqdm", "torchdiffeq")
print(*[name for name in names if importlib.util.find_spec(name) is None])')
  [ -z "$missing" ] || fail "$PYTHON lacks $missing; put them on PYTHONPATH (they are not fetched here)"
}

describe_machine() {
  "$PYTHON" - <<'PY'
import os, platform, torch, numpy, disperse
cuda = torch.cuda.is_available()
print("device:", torch.cuda.get_device_name() if cuda else "cpu", "| cores:", len(os.sched_getaffinity(0)))
print("python", platform.python_version(), "| torch", torch.__version__, "| CUDA", torch.version.cuda, "| numpy", numpy.__version__)
print("disperse", os.path.dirname(disperse.__file__))
PY
}
