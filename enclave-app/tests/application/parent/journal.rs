//! A queue with a journal: killed and started again, each job has one result and one
//! line.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use enclave_app::{
    job::{
        JobReply, Refusal,
        refusal::{KmsCall, TransportFault},
    },
    parent::{
        journal::Journal,
        queue::{self, QueueLimits},
        submit::{Door, Job},
    },
};
use tokio::{
    io::DuplexStream,
    sync::{Notify, watch},
};

use crate::parent::submit::{Enclave, Memory, answering, done, line, memory_with, submitter};

/// Runs a queue with the journal in `file`; what it says.
async fn run<D: Door + 'static>(
    store: &Memory,
    door: D,
    file: &Path,
    input: &str,
) -> Vec<serde_json::Value> {
    let (_go_on, told) = watch::channel(false);
    let mut output = Vec::new();
    let limits = QueueLimits {
        jobs_max: 2,
        ..QueueLimits::default()
    };
    // A write of a parent that was killed may still be on its way.
    let begun = Instant::now();
    let journal = loop {
        match Journal::open(file) {
            Ok(journal) => break Some(Arc::new(journal)),
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
        tokio::task::yield_now().await;
    };
    let submitter = Arc::new(submitter(store, door));
    queue::run_with(
        input.as_bytes(),
        &mut output,
        submitter,
        limits,
        journal,
        told,
    )
    .await
    .unwrap();
    let text = String::from_utf8(output).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_job_that_has_ended_is_neither_run_nor_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal");
    let store = memory_with(&["a", "b"]);
    let input = line("a") + &line("b") + &line("a");
    let reports = run(&store, answering(&done()), &file, &input).await;
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports.iter().all(|report| report["status"] == "done"));
    let before = store.operations().len();
    let reports = run(&store, answering(&done()), &file, &(input + &line("a"))).await;
    assert_eq!(reports, Vec::<serde_json::Value>::new());
    assert_eq!(store.operations().len(), before, "S3 was asked");
}

#[tokio::test]
async fn jobs_in_hand_when_the_parent_was_killed_are_run_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal");
    let store = memory_with(&["a", "b"]);
    let input = line("a") + &line("b");
    {
        let begun = Arc::new(Notify::new());
        let tells = Arc::clone(&begun);
        // Takes a job and never answers.
        let door = Enclave {
            conversation: move |stream: DuplexStream| {
                let tells = Arc::clone(&tells);
                async move {
                    tells.notify_one();
                    let _held = stream;
                    std::future::pending().await
                }
            },
            pipe_bytes: 1 << 20,
        };
        let killed = run(&store, door, &file, &input);
        tokio::select! {
            _ = killed => panic!("it ended"),
            () = begun.notified() => {}
        }
    }
    // The input has been read; it does not come again.
    let reports = run(&store, answering(&done()), &file, "").await;
    assert!(!reports.is_empty(), "nothing was taken up again");
    // Where it comes again, only what was never accepted is new.
    let more = run(&store, answering(&done()), &file, &input).await;
    let mut keys: Vec<&str> = reports
        .iter()
        .chain(&more)
        .map(|report| report["result_key"].as_str().unwrap())
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["a.result", "b.result"]);
    assert!(store.has("a.result").is_some() && store.has("b.result").is_some());
}

#[tokio::test]
async fn an_end_that_was_not_told_is_told_by_the_next_parent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal");
    let store = memory_with(&["a"]);
    let reports = run(&store, answering(&done()), &file, &line("a")).await;
    let job: Job = serde_json::from_str(&line("a")).unwrap();
    {
        let journal = Journal::open(&file).unwrap();
        let report = serde_json::from_value(reports[0].clone()).unwrap();
        journal.ended(&job, &report).unwrap();
    }
    assert_eq!(run(&store, answering(&done()), &file, "").await, reports);
    assert!(run(&store, answering(&done()), &file, "").await.is_empty());
}

#[tokio::test]
async fn what_may_go_better_is_told_and_run_when_it_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("journal");
    let store = memory_with(&["a"]);
    let unreachable = JobReply::Refused {
        refusal: Refusal::KmsUnreachable(KmsCall::Decrypt, TransportFault::Bridge),
        report: None,
    };
    let reports = run(&store, answering(&unreachable), &file, &line("a")).await;
    assert_eq!(reports[0]["code"], "kms_unreachable");
    let reports = run(&store, answering(&done()), &file, &line("a")).await;
    assert_eq!(reports[0]["status"], "done");
}
