"""Output of nvidia-smi and rocm-smi on real cards, which these hosts do not have; each with its source.

Blanks at the ends of lines are left out."""

# Four A100, of which 1 to 3 are divided: https://github.com/XuehaiPan/nvitop/pull/8 (17 June 2022).
NVIDIA_MIG = """\
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 510.47.03    Driver Version: 510.47.03    CUDA Version: 11.6     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|                               |                      |               MIG M. |
|===============================+======================+======================|
|   0  NVIDIA A100-SXM...  On   | 00000000:01:00.0 Off |                    0 |
| N/A   38C    P0   163W / 500W |  23100MiB / 81920MiB |     58%      Default |
|                               |                      |             Disabled |
+-------------------------------+----------------------+----------------------+
|   1  NVIDIA A100-SXM...  On   | 00000000:41:00.0 Off |                   On |
| N/A   38C    P0   178W / 500W |  24205MiB / 81920MiB |     N/A      Default |
|                               |                      |              Enabled |
+-------------------------------+----------------------+----------------------+
+-----------------------------------------------------------------------------+
| MIG devices:                                                                |
+------------------+----------------------+-----------+-----------------------+
| GPU  GI  CI  MIG |         Memory-Usage |        Vol|         Shared        |
|      ID  ID  Dev |           BAR1-Usage | SM     Unc| CE  ENC  DEC  OFA  JPG|
|                  |                      |        ECC|                       |
|==================+======================+===========+=======================|
|  1    3   0   0  |  14366MiB / 19968MiB | 28      0 |  2   0    1    0    0 |
|                  |      4MiB / 32767MiB |           |                       |
+------------------+----------------------+-----------+-----------------------+
|  1    5   0   1  |   9826MiB / 19968MiB | 28      0 |  2   0    1    0    0 |
|                  |      2MiB / 32767MiB |           |                       |
+------------------+----------------------+-----------+-----------------------+
+-----------------------------------------------------------------------------+
| Processes:                                                                  |
|  GPU   GI   CI        PID   Type   Process name                  GPU Memory |
|        ID   ID                                                   Usage      |
|=============================================================================|
|    0   N/A  N/A     23824      C   python                          10725MiB |
|    0   N/A  N/A     33724      C   tritonserver                    12247MiB |
|    1    3    0      34965      C   python                          14195MiB |
|    1    3    0      42152      C   python3                           149MiB |
|    1    5    0      46505      C   python                           9807MiB |
|    2    3    0      26294      C   python                          15191MiB |
|    3    4    0      46064      C   python                           9833MiB |
+-----------------------------------------------------------------------------+
"""
# The value of utilization.gpu: https://github.com/Stability-AI/StableSwarmUI/issues/388 (13 June 2024):
# "NVIDIA A100-SXM4-80GB, 535.161.08, 47, [N/A], [N/A], [Insufficient Permissions], …".
NVIDIA_MIG_PERCENT = "[N/A]\n"
# Driver 390.77, without the columns GI and CI: the README of
# https://github.com/eLvErDe/docker-cuda-xmr-stak (17 October 2018).
NVIDIA_390 = """\
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 390.77                 Driver Version: 390.77                    |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  GeForce GTX 108...  On   | 00000000:04:00.0 Off |                  N/A |
| 37%   64C    P2   131W / 150W |   2213MiB / 11178MiB |    100%      Default |
+-------------------------------+----------------------+----------------------+
|   1  GeForce GTX 108...  On   | 00000000:05:00.0 Off |                  N/A |
| 44%   68C    P2   130W / 150W |   2213MiB / 11178MiB |    100%      Default |
+-------------------------------+----------------------+----------------------+

+-----------------------------------------------------------------------------+
| Processes:                                                       GPU Memory |
|  GPU       PID   Type   Process name                             Usage      |
|=============================================================================|
|    0      4910      C   /usr/bin/xmr-stak                           2203MiB |
|    1      4910      C   /usr/bin/xmr-stak                           2203MiB |
|    2      4910      C   /usr/bin/xmr-stak                           2203MiB |
+-----------------------------------------------------------------------------+
"""

# https://github.com/ROCm/ROC-smi/issues/60 (22 April 2025).
AMD = """\


============================ ROCm System Management Interface ============================
===================================== KFD Processes ======================================
KFD process information:
PID     PROCESS NAME    GPU(s)  VRAM USED       SDMA USED       CU OCCUPANCY
3722222 test_ref        0       0               0               0
3814512 test_ref        0       0               0               0
1168514 pt_main_thread  1       177386942464    0               4
3714485 test_ref        0       0               0               0
==========================================================================================
================================== End of ROCm SMI Log ===================================
"""
# https://github.com/ROCm/rocm_smi_lib/issues/166 (2 May 2024).
AMD_UNKNOWN = """\
========================= ROCm System Management Interface =========================
================================== KFD Processes ===================================
get_compute_process_info_by_pid, Not supported on the given system
get_compute_process_info_by_pid, Not supported on the given system
KFD process information
PID     PROCESS NAME    GPU(s)  VRAM USED       SDMA USED       CU OCCUPANCY
55573   gmx_mpi         1       UNKNOWN         UNKNOWN         UNKNOWN
55571   gmx_mpi         1       UNKNOWN         UNKNOWN         UNKNOWN
====================================================================================
=============================== End of ROCm SMI Log ================================
"""
# https://github.com/ROCm/rocm-systems/issues/4405 (25 March 2026): a server that waits for requests.
AMD_HOLDS_MEMORY = """\
============================ ROCm System Management Interface ============================
===================================== KFD Processes ======================================
KFD process information:
PID   \tPROCESS NAME\tGPU\tVRAM USED  \tSDMA USED\tCU OCCUPANCY\t
132174\tllama-server\t2  \t15053770752\t0        \t0           \t
==========================================================================================
================================== End of ROCm SMI Log ===================================
"""
