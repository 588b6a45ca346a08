"""Which process of how many this is: arguments, the environment, and clusters as JAX recognises them."""

import jax._src.clusters.cloud_tpu_cluster as tpu
import jax._src.clusters.k8s_cluster as kubernetes
import pytest

import phlox as px
from phlox.parallel.processes._seat import Seat, seat_of

NAMES = ("PHLOX_COORDINATOR", "PHLOX_PROCESSES", "PHLOX_PROCESS", "JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST")
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
SLURM = {
    "SLURM_JOB_ID": "4097",
    "SLURM_STEP_NODELIST": "node[07-09],other",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, without those of the machine that could be meant."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)

    def put(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


def seat(*given):
    return seat_of(*(given or (None, None, None)), 5)


def test_nothing_around_is_one_process(environment):
    assert seat() is None
    px.parallel.initialize()
    px.parallel.initialize(processes=1, process=0)


def test_arguments_count_before_variables(environment):
    environment(PHLOX_COORDINATOR="10.0.0.1:7000", PHLOX_PROCESSES="3", PHLOX_PROCESS="2")
    assert seat() == Seat("10.0.0.1:7000", 3, 2)
    assert seat("b:1", None, 0) == Seat("b:1", 3, 0)
    assert seat("b:1", 5, None) == Seat("b:1", 5, 2)


def test_slurm_as_srun_sets_it(environment):
    environment(**SLURM)
    assert seat() == Seat("node07:61441", 6, 5, [1])
    environment(PHLOX_COORDINATOR="10.0.0.1:7000", JAX_COORDINATOR_PORT="9")
    assert seat() == Seat("10.0.0.1:7000", 6, 5, [1])
    environment(SLURM_NTASKS="1", SLURM_PROCID="0")
    assert seat() is None


def test_open_mpi_as_mpirun_sets_it(environment):
    environment(**OPEN_MPI)
    assert seat() == Seat("10.96.0.1:62624", 4, 3, [1])
    environment(JAX_COORDINATOR_PORT="7001")
    assert seat() == Seat("10.96.0.1:7001", 4, 3, [1])


def test_a_pod_of_an_indexed_job_by_its_index(environment):
    environment(PHLOX_COORDINATOR="job-0.pods:7000", PHLOX_PROCESSES="4", JOB_COMPLETION_INDEX="3")
    assert seat() == Seat("job-0.pods:7000", 4, 3)


def test_a_pod_with_the_client_of_kubernetes(environment, monkeypatch):
    environment(KUBERNETES_SERVICE_HOST="10.0.0.1", JOB_COMPLETION_INDEX="1")
    cluster = kubernetes.K8sCluster
    monkeypatch.setattr(cluster, "is_env_present", lambda: True)
    monkeypatch.setattr(
        cluster, "get_coordinator_address", lambda timeout_secs, override_coordinator_port: "job-0:55527"
    )
    monkeypatch.setattr(cluster, "get_process_count", lambda: 2)
    assert seat() == Seat("job-0:55527", 2, 1)


def test_a_slice_of_cloud_tpus(environment, monkeypatch):
    environment(TPU_WORKER_HOSTNAMES="localhost,b", TPU_WORKER_ID="1", TPU_SKIP_MDS_QUERY="1")
    environment(MEGASCALE_COORDINATOR_ADDRESS="localhost", MEGASCALE_NUM_SLICES="2", MEGASCALE_SLICE_ID="1")
    monkeypatch.setattr(tpu, "running_in_cloud_tpu_vm", True)
    assert seat() == Seat("localhost:8482", 4, 3)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (
            {"PHLOX_PROCESSES": "2", "PHLOX_PROCESS": "1"},
            (
                "px.parallel.initialize expects the coordinator's address, the number of processes, and which of them "
                "this is, got PHLOX_PROCESSES=2, PHLOX_PROCESS=1 alone\n  fix: set PHLOX_COORDINATOR in the "
                "environment, or start the program by phlox launch, srun or mpirun"
            ),
        ),
        ({"JOB_COMPLETION_INDEX": "1"}, "got PHLOX_PROCESS=1 alone"),
        (
            {"PHLOX_COORDINATOR": "here", "PHLOX_PROCESSES": "2", "PHLOX_PROCESS": "1"},
            "expects a coordinator as host:port, got 'here'",
        ),
        (
            {"PHLOX_COORDINATOR": "a:1", "PHLOX_PROCESSES": "two", "PHLOX_PROCESS": "1"},
            "expects a whole number in the environment variable PHLOX_PROCESSES, got 'two'",
        ),
        (
            {"PHLOX_COORDINATOR": "a:1", "PHLOX_PROCESSES": "2", "PHLOX_PROCESS": "2"},
            "expects a process from 0 to one below the number of processes, got 2 of 2",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(environment, variables, text):
    environment(**variables)
    with pytest.raises(px.RangeError) as caught:
        px.parallel.initialize()
    assert text in str(caught.value)


def test_a_time_below_a_second_is_refused():
    with pytest.raises(px.RangeError, match=r"timeout in seconds, at least 1, got 0"):
        px.parallel.initialize(timeout=0)


def test_after_jax_was_used_it_is_too_late(environment):
    px.Dense(1, 1)
    environment(PHLOX_COORDINATOR="127.0.0.1:1", PHLOX_PROCESSES="2", PHLOX_PROCESS="1")
    with pytest.raises(px.StateError) as caught:
        px.parallel.initialize()
    assert str(caught.value) == (
        "px.parallel.initialize expects to be called before JAX is used, got a backend that runs already, for this "
        "process alone\n  fix: call it first in the program: before arrays and models are made, and before "
        "jax.devices()"
    )


def test_processes_that_were_not_brought_together_do_not_train_together(environment):
    environment(PHLOX_COORDINATOR="127.0.0.1:1", PHLOX_PROCESSES="2", PHLOX_PROCESS="1")
    one = [([[1.0]], [[1.0]])]
    with pytest.raises(px.StateError, match=r"px.fit expects the 2 processes that were started to be brought together"):
        px.fit(
            px.Dense(1, 1), one, loss=px.losses.mse, optimizer=px.optim.Adam(0.1), parallel=px.parallel.data_parallel(1)
        )
