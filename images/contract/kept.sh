# What install.py installed, in a new container: as a program and as a package.
[ "$(gateway-contract)" = kept ] || { echo "an installed program is not on the path of the next container" >&2; exit 1; }
python3 -c 'import gateway_contract' || exit 1
echo "in the next container as well"
