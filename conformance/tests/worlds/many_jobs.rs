//! Many jobs at once, and programs that end among them: each job comes to one end.

use std::collections::BTreeMap;

use conformance::{
    demo::SAMPLE,
    lab::{
        JobOutcome, JobStatus, Lab, Mode, Options, ParentOptions,
        cloud::{BUCKET, Role},
        hospital::{self, Uploaded},
    },
};
use enclave_app::parent::s3::ObjectStore as _;

async fn uploads(lab: &Lab, number: usize) -> Vec<Uploaded> {
    let mut uploads = Vec::new();
    for job in 0..number {
        let job = format!("many-{job}");
        let upload = hospital::upload(&lab.cloud, &lab.submitter, &job, SAMPLE, lab.now());
        uploads.push(upload.await.unwrap());
    }
    uploads
}

/// More than the enclave's slots and line can hold at a time come to their end: who is
/// turned away comes again, and who waits hears that it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_at_once_than_fit_are_all_done() {
    const JOBS: usize = 72;
    let lab = Lab::start(Options::default()).await.unwrap();
    let options = ParentOptions {
        jobs: 72,
        ..ParentOptions::default()
    };
    let wiring = lab.wiring();
    let (mut parent, enclave) = tokio::try_join!(
        lab.start_parent_with(&wiring, &options),
        lab.start_enclave(Mode::Production)
    )
    .unwrap();
    let uploads = uploads(&lab, JOBS).await;
    for upload in &uploads {
        parent.send(&upload.objects).await.unwrap();
    }
    for _ in 0..JOBS {
        let outcome = parent.outcome().await.unwrap().unwrap();
        assert_eq!(outcome.status, JobStatus::Done, "{outcome:?}");
    }
    for upload in &uploads {
        lab.read(upload).await.unwrap();
    }
    enclave.stop().await.unwrap();
    parent.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_is_stopped_leaves_no_job_without_an_answer() {
    const JOBS: usize = 12;
    let lab = Lab::start(Options::default()).await.unwrap();
    let options = ParentOptions {
        jobs: 12,
        ..ParentOptions::default()
    };
    let wiring = lab.wiring();
    let (mut parent, enclave) = tokio::try_join!(
        lab.start_parent_with(&wiring, &options),
        lab.start_enclave(Mode::Production)
    )
    .unwrap();
    for upload in uploads(&lab, JOBS).await {
        parent.send(&upload.objects).await.unwrap();
    }
    let mut outcomes = vec![parent.outcome().await.unwrap().unwrap()];
    let stopping = tokio::spawn(enclave.stop());
    while outcomes.len() < JOBS {
        outcomes.push(parent.outcome().await.unwrap().unwrap());
    }
    let status = stopping.await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    let not_run = |outcome: &&JobOutcome| outcome.code.as_deref() == Some("not_run");
    let (handed_back, done): (Vec<_>, Vec<_>) = outcomes.iter().partition(not_run);
    assert!(
        done.iter().all(|outcome| outcome.status == JobStatus::Done),
        "{outcomes:?}"
    );
    assert!(!handed_back.is_empty(), "all were done before it was told");
    parent.stop().await.unwrap();
}

fn note(told: &mut BTreeMap<String, usize>, outcome: JobOutcome) {
    assert_eq!(outcome.status, JobStatus::Done, "{outcome:?}");
    *told.entry(outcome.result_key.unwrap()).or_default() += 1;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_killed_again_and_again_loses_and_repeats_nothing() {
    const JOBS: usize = 30;
    const KILLS: usize = 3;
    let lab = Lab::start(Options::default()).await.unwrap();
    let options = ParentOptions {
        jobs: 4,
        journal: Some(lab.folder().join("journal")),
    };
    let wiring = lab.wiring();
    let enclave = lab.start_enclave(Mode::Production).await.unwrap();
    let uploads = uploads(&lab, JOBS).await;
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..=KILLS {
        let mut parent = lab.start_parent_with(&wiring, &options).await.unwrap();
        // Whoever feeds it does not know how far the last one was.
        for upload in &uploads {
            parent.send(&upload.objects).await.unwrap();
        }
        let until = match round {
            KILLS => JOBS,
            _ => JOBS * (round + 1) / (KILLS + 1),
        };
        while told.len() < until {
            note(&mut told, parent.outcome().await.unwrap().unwrap());
        }
        if round < KILLS {
            parent.kill().await.unwrap();
            // What it had said before it died is still said.
            while let Ok(Some(outcome)) = parent.outcome().await {
                note(&mut told, outcome);
            }
        } else {
            parent.stop().await.unwrap();
        }
    }
    assert_eq!(told.len(), JOBS, "{told:?}");
    // A line that was written in the moment of a kill may come again.
    let twice = told.values().filter(|times| **times > 1).count();
    assert!(twice <= KILLS, "{told:?}");
    let s3 = hospital::s3(&lab.cloud, Role::Clinician).unwrap();
    for upload in &uploads {
        assert!(s3.exists(BUCKET, &upload.objects.result_key).await.unwrap());
        lab.read(upload).await.unwrap();
    }
    // Each order was run once, however often it was sent: one key for each result.
    let records = lab.cloud.mock().kms().audit().records();
    let sealed = records
        .iter()
        .filter(|call| call.operation == "GenerateDataKey" && call.attested)
        .count();
    assert!(
        (JOBS..=JOBS + 4 * KILLS).contains(&sealed),
        "{sealed} result keys"
    );
    enclave.stop().await.unwrap();
}
