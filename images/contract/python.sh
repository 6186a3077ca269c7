# Which Python people get by either name, and that it makes environments.
found=$(python3 -c 'import platform; print(platform.python_version())') || exit 1
[ "${CHECK_PYTHON:-$found}" = "$found" ] || { echo "its label says $CHECK_PYTHON, it is $found" >&2; exit 1; }
if [ -n "${CHECK_TORCH:-}" ]; then
    other=$(python -c 'import platform; print(platform.python_version())') || { echo "there is no program python" >&2; exit 1; }
    [ "$other" = "$found" ] || { echo "python is $other and python3 $found" >&2; exit 1; }
fi
python3 -m venv --without-pip /tmp/contract-environment && rm -r /tmp/contract-environment || exit 1
echo "$found"
