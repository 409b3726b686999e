#!/bin/bash
# What the start-jupyter that rps succeeds does on a login node, step by step, with the programs that it
# runs for each (github.com/sdsc-hpc-training-org/reverse-proxy at 014c0acf: start-jupyter and lib/; none of
# its text is here): the host's entry in a file, a name from the service, Jupyter's configuration directory,
# a private file there, a look at the age of each file there, a token, four lines of configuration, sbatch.
# In its favour: its service was asked with `GET /getlink.cgi`, ours has no such call and is asked with
# `POST /api/v1/sessions`, one request as well; curl reads one CA, where it reads the system's; and what
# it leaves running in the background (squeue in a loop, to remove the file) is left out.
#
#   seed.sh DOMAIN CA_FILE BATCH_SCRIPT
set -eu
host=$(hostname -s)
hosts=$(awk '/:/ { print }' <<END | sed 's/^[ \t]*//'
  comet-ln: $1 slurm compute
END
)
[[ $hosts =~ ^(comet-ln):\ ([^ ]+)\ (slurm)\ ([a-z]+) && $host == "${BASH_REMATCH[1]}"* ]]
domain=${BASH_REMATCH[2]} partition=${BASH_REMATCH[4]}

response=$(curl --silent --cacert "$2" --write-out ' %{http_code}' --header 'Content-Type: application/json' \
  --data '{"cluster": "comet", "scheduler": "slurm", "user": "seed"}' "https://manage.$domain/api/v1/sessions")
status=$(awk '{ print $NF }' <<<"$response")
[[ $status == 201 ]]
issued=$(awk -F '"' '{ for (i = 1; i < NF; i++) if ($i == "name" || $i == "claim") print $i, $(i + 2) }' <<<"$response")
[[ $issued =~ name\ ([a-z-]+) ]]
name=${BASH_REMATCH[1]}
[[ $issued =~ claim\ ([^[:space:]]+) ]]
claim=${BASH_REMATCH[1]}

[[ $(which jupyter) ]]
directory=$(jupyter --config-dir)/rps
mkdir -p "$directory"
chmod 0700 "$directory"
config=$(mktemp -p "$directory" tmp.XXXXXX.py)
for file in "$directory"/*; do
  age=$(($(date +%s) - $(date -r "$file" +%s)))
  ((age < 36000)) || rm "$file"
done
token=$(openssl rand -hex 16)
# shellcheck disable=SC2129 # each line goes through a cat of its own there
{
  echo "c.ServerApp.token = '$token'  # claim: $claim" | cat >>"$config"
  echo "c.ServerApp.root_dir = '$HOME'" | cat >>"$config"
  echo "c.ServerApp.allow_origin = '*'" | cat >>"$config"
  echo "c.ServerApp.allow_remote_access = True" | cat >>"$config"
}
echo "https://$name.$domain?token=$token"
export config
answer=$(sbatch --time=00:30:00 --partition="$partition" "$3")
[[ $answer =~ ^Submitted\ batch\ job\ ([0-9]+)$ ]]
