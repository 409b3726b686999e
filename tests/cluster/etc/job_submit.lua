-- A site's policy: what it prints, sbatch prints line by line.
function slurm_job_submit(job, partitions, uid)
  if job.features == "closed" then
    slurm.log_user("==========\nWelcome to Comet.\nThe project is closed.\n  See https://hpc.example/closed\n==========")
    return slurm.ERROR
  end
  if job.features == "announced" then
    job.features = ""
    slurm.log_user("The time limit was cut to 2 hours.\nMaintenance begins on Monday.")
  end
  return slurm.SUCCESS
end

function slurm_job_modify(job, known, partitions, uid)
  return slurm.SUCCESS
end
