# Where one can write and start programs.
for place in "$HOME" /workspace /tmp; do
    file=$place/.contract-$$
    printf '#!/bin/sh\nexit 7\n' 2>/dev/null >"$file" && chmod +x "$file" ||
        { echo "$place cannot be written" >&2; exit 1; }
    status=0
    "$file" || status=$?
    rm -f "$file"
    [ "$status" = 7 ] || { echo "no program can be started in $place" >&2; exit 1; }
done
echo "$HOME, /workspace, /tmp"
