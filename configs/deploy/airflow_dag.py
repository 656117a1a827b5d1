"""The nightly export as a DAG of Airflow 3; for `dags/`.

The worker has `exporter` on its PATH, the job in /etc/exporter/job.yaml, the archive in /srv/calls
and the key in a file that only its user can read. For a new key, write it to that file.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    dag_id="polyai_recordings",
    description="Export of PolyAI call recordings",
    schedule="30 3 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/London"),
    catchup=False,  # each run looks back some days and asks again for what is late
    max_active_runs=1,
    tags=["recordings"],
) as dag:
    BashOperator(
        task_id="export",
        bash_command=(
            "exec exporter run /etc/exporter/job.yaml --output /srv/calls"
            " --log-format json --no-progress"
        ),
        env={"EXPORTER_CREDENTIALS": '[{"api_key_file": "/etc/exporter/polyai-key"}]'},
        append_env=True,
        skip_on_exit_code=[5],  # another run holds the archive
        # Always safe: what is archived is skipped. A refused key (3) fails the second time, too.
        retries=1,
        retry_delay=timedelta(minutes=30),
        execution_timeout=timedelta(hours=10),
    )
