//! The parent's role has exactly the permissions of S3 that its jobs need: without any
//! one of them a job fails, and `explain` says which one it was.

use conformance::{
    demo::SAMPLE,
    lab::{JobStatus, Lab, Mode, Options, cloud::Role, hospital},
};

#[tokio::test(flavor = "multi_thread")]
async fn without_any_one_of_its_permissions_a_job_fails_with_an_explained_denial() {
    let lab = Lab::start(Options::default()).await.unwrap();
    let (mut parent, enclave) =
        tokio::try_join!(lab.start_parent(), lab.start_enclave(Mode::Production)).unwrap();
    let uploaded = hospital::upload(&lab.cloud, &lab.submitter, "job", SAMPLE, lab.now())
        .await
        .unwrap();
    let all = Role::Parent.s3_permissions();
    for missing in all {
        // Leaves a result that the next job must replace.
        lab.cloud.allow_s3(Role::Parent, all).await.unwrap();
        let outcome = parent.submit(&uploaded.objects).await.unwrap();
        assert_eq!(outcome.status, JobStatus::Done, "{missing}: {outcome:?}");
        let others: Vec<&str> = all.iter().copied().filter(|it| it != missing).collect();
        lab.cloud.allow_s3(Role::Parent, &others).await.unwrap();
        let outcome = parent.submit(&uploaded.objects).await.unwrap();
        assert_eq!(outcome.status, JobStatus::Failed, "{missing}: {outcome:?}");
        let records = lab.cloud.mock().kms().audit().records();
        let denied = records.iter().rev().find(|record| {
            let message = record.error_message().unwrap_or_default();
            record.principal_arn().contains(Role::Parent.name()) && message.contains(missing)
        });
        let denied = denied.unwrap_or_else(|| panic!("no denial of {missing} in the log"));
        assert_eq!(denied.error_code(), Some("AccessDenied"), "{missing}");
        let explained = lab
            .cloud
            .mock()
            .explain(denied.request_id.as_str())
            .unwrap();
        let text = explained.to_string();
        let because = format!("because no identity-based policy allows the {missing} action");
        assert!(text.contains(&because), "{text}");
        assert!(
            text.contains("Denied: no identity-based policy allows"),
            "{text}"
        );
        assert!(text.contains("is about other actions"), "{text}");
    }
    parent.stop().await.unwrap();
    enclave.stop().await.unwrap();
}
