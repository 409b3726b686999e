# shellcheck shell=bash
# Read by the batch scripts before the notebook is started: the modules, the conda environment and the
# prologue that the user asked for. A copy lies in the session's directory, beside files with the
# values: these are read as data and never as shell text, the prologue apart, which is the user's own.

rps_give_up() {
    echo "rps: $1" >&2
    exit 1
}

while IFS= read -r rps_module; do
    command -v module >/dev/null ||
        rps_give_up "there is no module command to load $rps_module with: leave --modules (notebook.modules) out"
    module load "$rps_module" || rps_give_up "the module $rps_module could not be loaded"
done <"$RPS_SESSION/modules"

while IFS= read -r rps_environment; do
    command -v conda >/dev/null || rps_give_up "there is no conda to activate $rps_environment with"
    # conda's own way to teach a shell that is not interactive.
    eval "$(conda shell.bash hook)"
    conda activate "$rps_environment" || rps_give_up "conda does not activate $rps_environment"
done <"$RPS_SESSION/conda-env"

if [ -f "$RPS_SESSION/prologue.sh" ]; then
    # shellcheck source=/dev/null
    . "$RPS_SESSION/prologue.sh"
fi
