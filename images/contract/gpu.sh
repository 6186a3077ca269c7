# The GPUs that were given are shown to the image's programs.
seen=$(nvidia-smi -L | grep -c '^GPU ') || { echo "nvidia-smi shows no GPU" >&2; exit 1; }
[ "$seen" = "$CHECK_GPUS" ] || { echo "nvidia-smi shows $seen GPUs, $CHECK_GPUS were given" >&2; exit 1; }
nvidia-smi -L | cut -d'(' -f1 | paste -sd, -
