#!/bin/bash
# What the start-jupyter that rps succeeds did on a login node: a name from the service, a token, Jupyter's
# configuration directory, a configuration in it, and sbatch of a small script, which is to tell the service
# its port. Its service was asked with `GET /getlink.cgi`; ours has no such call, so this asks for a name
# with `POST /api/v1/sessions`: one request as well.
#
#   seed.sh DOMAIN CA_FILE BATCH_SCRIPT
set -eu
answer=$(curl --silent --show-error --fail --cacert "$2" --header 'Content-Type: application/json' \
  --data '{"cluster": "comet", "scheduler": "slurm", "user": "seed"}' \
  "https://manage.$1/api/v1/sessions")
[[ $answer =~ \"name\":\ *\"([^\"]+)\" ]]
name=${BASH_REMATCH[1]}
[[ $answer =~ \"claim\":\ *\"([^\"]+)\" ]]
claim=${BASH_REMATCH[1]}
token=$(openssl rand -hex 16)
directory=$(jupyter --config-dir)
mkdir -p "$directory"
config=$directory/$name.py
cat >"$config" <<END
# claim: $claim
c.ServerApp.token = '$token'
c.ServerApp.notebook_dir = '$HOME'
c.ServerApp.ip = '0.0.0.0'
END
sbatch --partition=compute --time=30 --export="ALL,config=$config" "$3"
echo "https://$name.$1?token=$token"
