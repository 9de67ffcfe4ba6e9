//! What a parent makes of answers that are no result: refusals with and without a sealed
//! report, a busy enclave, progress and silence.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use enclave_app::{
    job::{
        JobReply, Refusal, SealedReport,
        progress::{Progress, Stage},
        refusal::{ImageFault, KmsCall, KmsException, RetryAfter},
    },
    parent::submit::SubmitError,
    vsock::framing::{FrameError, read_frame, write_frame},
};
use serde_bytes::ByteBuf;
use tokio::io::DuplexStream;

use crate::parent::{
    doubles::{lock, object, receipt_for},
    submit::{
        Enclave, LARGE, RESULT, answer, answering, done, failure, job, memory_with, submitter,
    },
};

#[tokio::test]
async fn nothing_is_stored_for_a_refused_job() {
    let store = memory_with(&["scan"]);
    let reply = JobReply::Refused {
        refusal: Refusal::KmsRefused(KmsCall::Decrypt, KmsException::AccessDenied),
        report: None,
    };
    let error = failure(&store, answering(&reply)).await;
    assert!(error.is_refusal());
    assert_eq!(error.code(), "kms_refused");
    assert_eq!(error.reason(), Some("access_denied"));
    assert!(
        error.to_string().contains("AccessDeniedException"),
        "{error}"
    );
    assert!(!store.stores());
}

fn refused_with_report(receipt: ByteBuf) -> JobReply {
    JobReply::Refused {
        refusal: Refusal::Image(ImageFault::Damaged),
        report: Some(SealedReport {
            object: object(RESULT),
            receipt,
        }),
    }
}

#[tokio::test]
async fn the_sealed_report_of_a_refusal_is_stored_with_its_receipt_and_no_result_is() {
    let store = memory_with(&["scan"]);
    let error = failure(&store, answering(&refused_with_report(receipt_for(RESULT)))).await;
    assert_eq!(error.code(), "image");
    assert_eq!(error.report_key(), Some("scan.result.refused"));
    assert_eq!(*store.has("scan.result.refused").unwrap().body, RESULT);
    assert_eq!(
        store.has("scan.result.refused.receipt").unwrap().body,
        receipt_for(RESULT)
    );
    assert_eq!(store.has("scan.result"), None);
    assert_eq!(store.has("scan.result.receipt"), None);
}

#[tokio::test]
async fn a_report_that_its_receipt_is_not_for_is_not_stored() {
    let store = memory_with(&["scan"]);
    let error = failure(
        &store,
        answering(&refused_with_report(receipt_for(b"another"))),
    )
    .await;
    assert!(matches!(error, SubmitError::UnfitReply { .. }), "{error:?}");
    assert!(!store.stores());
}

#[tokio::test]
async fn a_refusal_counts_even_before_the_enclave_has_read_the_job() {
    let store = memory_with(&["scan"]);
    lock(&store.objects).insert("scan".into(), object(&vec![7; 1 << 20]));
    let door = Enclave {
        conversation: |mut stream: DuplexStream| async move {
            let stopping = JobReply::Refused {
                refusal: Refusal::NotRun,
                report: None,
            };
            write_frame(&mut stream, &stopping.encode().unwrap(), &LARGE)
                .await
                .unwrap();
        },
        pipe_bytes: 512,
    };
    let error = failure(&store, door).await;
    assert!(
        matches!(
            error,
            SubmitError::Refused {
                refusal: Refusal::NotRun,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!store.stores());
}

#[tokio::test]
async fn a_busy_enclave_is_asked_again_until_it_takes_the_job() {
    let store = memory_with(&["scan"]);
    let asked = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&asked);
    let door = Enclave {
        conversation: move |stream: DuplexStream| {
            let mut asked = lock(&counter);
            *asked += 1;
            let reply = match *asked {
                1..=3 => JobReply::Refused {
                    refusal: Refusal::Busy(RetryAfter::ThirtySeconds),
                    report: None,
                },
                _ => done(),
            };
            answer(stream, reply.encode().unwrap())
        },
        pipe_bytes: 4096,
    };
    let submitted = submitter(&store, door).submit(&job()).await;
    submitted.outcome.unwrap();
    assert_eq!(*lock(&asked), 4);
}

/// Reads the job, says so many times that it is in line, then what comes last.
async fn in_line(mut stream: DuplexStream, times: u32, last: Option<Vec<u8>>) {
    read_frame(&mut stream, &LARGE).await.unwrap();
    for ahead in (0..times).rev() {
        let progress = Progress::at(Stage::Queued, ahead).encode();
        write_frame(&mut stream, &progress, &LARGE).await.unwrap();
    }
    match last {
        Some(last) => write_frame(&mut stream, &last, &LARGE).await.unwrap(),
        None => std::future::pending().await,
    }
}

#[tokio::test]
async fn progress_is_waited_through_and_silence_is_not() {
    let store = memory_with(&["scan"]);
    let goes_on = Enclave {
        conversation: |stream| in_line(stream, 1000, Some(done().encode().unwrap())),
        pipe_bytes: 4096,
    };
    let submitted = submitter(&store, goes_on).submit(&job()).await;
    submitted.outcome.unwrap();

    let falls_silent = Enclave {
        conversation: |stream| in_line(stream, 3, None),
        pipe_bytes: 4096,
    };
    let mut impatient = submitter(&store, falls_silent);
    impatient.limits.silence = Duration::from_millis(30);
    let error = impatient.submit(&job()).await.outcome.unwrap_err();
    assert!(
        matches!(
            error,
            SubmitError::NoReply(FrameError::NotBegun { .. } | FrameError::Idle { .. })
        ),
        "{error:?}"
    );

    let another_version = Enclave {
        conversation: |stream| {
            let newer = Progress {
                version: 2,
                ..Progress::at(Stage::Queued, 0)
            };
            in_line(stream, 1, Some(newer.encode()))
        },
        pipe_bytes: 4096,
    };
    let error = failure(&store, another_version).await;
    assert!(matches!(error, SubmitError::BadReply(_)), "{error:?}");
}
