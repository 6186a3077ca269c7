"""`pip install` without root, of a package of a few lines; kept.sh looks for it in the next container."""

import subprocess
import sys
import zipfile

INFO = "gateway_contract-1.0.dist-info"
FILES = {
    "gateway_contract.py": "def main():\n    print('kept')\n",
    INFO + "/METADATA": "Metadata-Version: 2.1\nName: gateway_contract\nVersion: 1.0\n",
    INFO + "/WHEEL": "Wheel-Version: 1.0\nGenerator: contract\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    INFO + "/entry_points.txt": "[console_scripts]\ngateway-contract = gateway_contract:main\n",
}
wheel = "/tmp/gateway_contract-1.0-py3-none-any.whl"
with zipfile.ZipFile(wheel, "w") as archive:
    for path, text in {**FILES, INFO + "/RECORD": "".join(f"{path},,\n" for path in FILES)}.items():
        archive.writestr(path, text)
done = subprocess.run(
    [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-index", wheel],
    capture_output=True,
    text=True,
)
if done.returncode:
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")] or ["pip failed"]
    sys.exit(lines[0])
