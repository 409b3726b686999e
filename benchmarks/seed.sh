#!/bin/bash
# What the start-jupyter that rps succeeds does on a login node, step by step, with the programs that it
# runs for each (github.com/sdsc-hpc-training-org/reverse-proxy at 6c3cab1, the newest: start-jupyter and
# lib/; none of its text is here): the host's entry in a file, a name from the service, Jupyter's
# configuration directory, a private file there, a look at the age of each file there, a token, three lines
# of configuration, sbatch.
# In its favour: what it leaves running in the background (squeue and find in a loop, to remove the file)
# is left out.
#
#   seed.sh DOMAIN CA_FILE BATCH_SCRIPT
set -eu

entry_of() {
  lines=$(awk '/^Cluster/ { inside = 1; next } inside { print }' <<END | sed 's/^[ \t]*//'
Cluster one
  tscc-login[0-9]+ tscc.example torque interactive torque
Cluster two
  tscc-stratus tscc.example slurm interactive slurm
Cluster three
  comet-ln $domain slurm compute slurm
Cluster four
  login[0-9]+ expanse.example slurm compute slurm
END
)
  while read -r pattern rest; do
    if [[ $1 =~ ^$pattern ]]; then echo "$pattern $rest"; fi
  done <<<"$lines"
}

has_program() { [[ $(which "$1") ]]; }

remove_old_files() {
  for file in "$1"/*; do
    modified=$(date -r "$file" +%s)
    now=$(date +%s)
    ((now - modified < 36000)) || rm "$file"
  done
}

domain=$1
# shellcheck disable=SC2207 # split at blanks, as there
entry=($(entry_of "$(hostname -s)"))
partition=${entry[3]}
# shellcheck disable=SC2001 # by sed, as there
cluster=$(echo "${entry[1]}" | sed 's/-.*//')
[[ $cluster == comet ]]

response=$(curl --silent --cacert "$2" --write-out '%{http_code}' "https://manage.${entry[1]}/getlink.cgi" --output -)
# shellcheck disable=SC2086 # on one line, as there
status=$(echo $response | awk '{ print $NF }')
[[ $status == 200 ]]
# shellcheck disable=SC2086
name=$(echo $response | awk 'NF > 1 { printf $(NF - 1) }')

has_program jupyter
directory=$(jupyter --config-dir)/rps
mkdir -p "$directory"
chmod 0700 "$directory"
config=$(mktemp -p "$directory" tmp.XXXXXX.py)
remove_old_files "$directory"
token=$(openssl rand -hex 16)
# shellcheck disable=SC2129 # each line goes through a cat of its own there
{
  echo "c.ServerApp.token = '$token'" | cat >>"$config"
  echo "c.ServerApp.root_dir = '$HOME'" | cat >>"$config"
  echo "c.ServerApp.allow_origin = '*'" | cat >>"$config"
}
echo "https://$name.$domain?token=$token"
export config
answer=$(sbatch --time=00:30:00 --partition="$partition" "$3")
[[ $answer =~ ^Submitted\ batch\ job\ ([0-9]+)$ ]]
