# shellcheck shell=bash
# Read by the batch scripts before the notebook is started: the modules, the conda environment and the
# prologue that the user asked for. A copy lies in the session's directory, beside files with the
# values: these are read as data and never as shell text, the prologue apart, which is the user's own.
# The values are on file descriptor 3, and what runs here has no standard input: a modulefile may read it.

# The log begins with the environment. The file that comes next is for `rps why`: the login shell has come back.
if [ ! -e "$RPS_SESSION/script-began" ] && [ -f "$RPS_SESSION/environment" ]; then
    cat "$RPS_SESSION/environment"
fi
(umask 077 && true >"$RPS_SESSION/script-began") 2>/dev/null

# For the agent, which looks first for a Jupyter that is on the PATH because of what follows.
(umask 077 && printf '%s\n' "$PATH" >"$RPS_SESSION/path-before") 2>/dev/null

rps_give_up() {
    echo "rps: $1" >&2
    exit 1
}

# Check that a module is loaded: by name, or, for an alias or a range of versions, by the path of its modulefile,
# which `module show` prints. All of Environment Modules 3.2 to 5 and Lmod set both variables.
rps_is_loaded() {
    case ":${LOADEDMODULES-}:" in *":$1:"* | *":$1/"*) return 0 ;; esac
    module show "$1" 2>&1 </dev/null | {
        while read -r rps_line; do
            case $rps_line in /*:) case ":${_LMFILES_-}:" in *":$rps_line"*) exit 0 ;; esac ;; esac
        done
        exit 1
    }
}

while IFS= read -r rps_module <&3; do
    command -v module >/dev/null ||
        rps_give_up "there is no module command to load $rps_module with: leave --modules (notebook.modules) out"
    module load "$rps_module" </dev/null 3<&- || rps_give_up "the module $rps_module could not be loaded"
    # Environment Modules 3.2 returns 0 whatever happens: its shell function ends with the eval of no text.
    rps_is_loaded "$rps_module" 3<&- ||
        rps_give_up "the module $rps_module could not be loaded: it is not in LOADEDMODULES=${LOADEDMODULES-}"
done 3<"$RPS_SESSION/modules"

# Print the path of a conda environment: its own, or that in the list that conda and micromamba keep.
rps_path_of() {
    case $1 in /*) [ ! -d "$1/bin" ] || echo "$1"; return ;; esac
    while IFS= read -r rps_line; do
        case $rps_line in /*/"$1") [ -d "$rps_line/bin" ] && echo "$rps_line" && return ;; esac
    done <"$HOME/.conda/environments.txt"
} 2>/dev/null

# Activate an environment without conda, by what `conda activate` sets.
rps_activate() {
    CONDA_PREFIX=$1 CONDA_DEFAULT_ENV=$1 CONDA_SHLVL=1
    PATH=$1/bin:$PATH
    export CONDA_PREFIX CONDA_DEFAULT_ENV CONDA_SHLVL PATH
    # Its own variables, which the launcher has read from conda's files of JSON.
    if [ -f "$RPS_SESSION/conda-variables" ]; then
        while IFS= read -r -d '' rps_line <&3; do export "${rps_line?}"; done 3<"$RPS_SESSION/conda-variables"
    fi
    for rps_script in "$1"/etc/conda/activate.d/*.sh; do
        # shellcheck source=/dev/null
        [ ! -f "$rps_script" ] || . "$rps_script"
    done
}

while IFS= read -r rps_environment <&3; do
    rps_path=$(rps_path_of "$rps_environment")
    if command -v conda >/dev/null; then
        # conda's own way to teach a shell that is not interactive.
        eval "$(conda shell.bash hook </dev/null 3<&-)"
        rps_code=0
        conda activate "$rps_environment" </dev/null 3<&- || rps_code=$?
        # It returns 0 also where a quote in the path makes what it evaluates no shell text.
        case $rps_code:$rps_path in
        0:) continue ;;
        0:*) [ "${CONDA_PREFIX-}" -ef "$rps_path" ] && continue ;;
        *:) rps_give_up "conda does not activate $rps_environment" ;;
        esac
    fi
    # `conda init` writes to ~/.bashrc, often below a line that ends it in a shell that is not interactive.
    # micromamba has no conda.
    [ -n "$rps_path" ] || rps_give_up "there is no conda to activate $rps_environment with"
    rps_activate "$rps_path" </dev/null
done 3<"$RPS_SESSION/conda-env"

if [ -f "$RPS_SESSION/prologue.sh" ]; then
    # shellcheck source=/dev/null
    . "$RPS_SESSION/prologue.sh" </dev/null
fi
