//! Web pages in a browser on the same machine: what they can make it send must not
//! reach a lenient endpoint. The requests are those that browsers send for an image,
//! a form, a script, and for a page whose name was pointed at this machine.

use kms_mock::{Auth, KmsMock};
use reqwest::{Client, Method, RequestBuilder, StatusCode};

use crate::support::builder;

const EVIL: &str = "https://evil.example";

fn ask(mock: &KmsMock, method: Method, path: &str) -> RequestBuilder {
    Client::new().request(method, format!("{}{path}", mock.url()))
}

fn form(mock: &KmsMock, body: &'static str) -> RequestBuilder {
    ask(mock, Method::POST, "/")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
}

/// Status, the mock's own reason, body.
async fn sent(request: RequestBuilder) -> (StatusCode, String, String) {
    let answer = request.send().await.unwrap();
    let reason = answer.headers().get("x-drydock-reason");
    let reason = reason.map_or_else(String::new, |it| it.to_str().unwrap().to_owned());
    (answer.status(), reason, answer.text().await.unwrap())
}

/// The answer of somebody who is let in.
async fn told(request: RequestBuilder) -> String {
    let (status, reason, body) = sent(request).await;
    assert_eq!(status, 200, "{reason} {body}");
    body
}

async fn refused(request: RequestBuilder, why: &str) -> String {
    let (status, reason, body) = sent(request).await;
    assert_eq!(status, 403, "{body}");
    assert!(reason.contains(why), "{reason}");
    assert!(
        body.contains("AccessDenied"),
        "an SDK shows the reason: {body}"
    );
    body
}

#[tokio::test]
async fn an_image_and_a_form_of_a_page_make_no_user_and_no_key() {
    let mock = builder().start().await.unwrap();
    let image = |path| ask(&mock, Method::GET, path);
    let create = "/?Action=CreateUser&UserName=mallory&Version=2010-05-08";
    refused(image(create), "GET").await;
    refused(
        image(create).header("sec-fetch-site", "cross-site"),
        "web page",
    )
    .await;
    refused(image("/?Action=NoSuchAction&Version=2010-05-08"), "GET").await;
    refused(image("/?Action=GetSessionToken&Version=2011-06-15"), "GET").await;
    let body = "Action=CreateUser&UserName=mallory&Version=2010-05-08";
    refused(form(&mock, body).header("origin", EVIL), EVIL).await;
    refused(form(&mock, body).header("origin", "null"), "Origin: null").await;
    let users = told(form(&mock, "Action=ListUsers&Version=2010-05-08")).await;
    assert!(!users.contains("mallory"), "{users}");
    let page_kms = ask(&mock, Method::POST, "/")
        .header("x-amz-target", "TrentService.CreateKey")
        .header("origin", EVIL)
        .body("{}");
    refused(page_kms, EVIL).await;
    assert!(mock.received().iter().all(|it| it.operation != "CreateKey"));
}

#[tokio::test]
async fn what_only_reads_is_answered_to_a_get_as_by_aws() {
    let mock = builder().start().await.unwrap();
    let identity = "/?Action=GetCallerIdentity&Version=2011-06-15";
    let told = told(ask(&mock, Method::GET, identity)).await;
    assert!(told.contains(":root"), "{told}");
}

#[tokio::test]
async fn a_page_under_a_name_that_was_pointed_at_this_machine_reads_nothing() {
    let mock = builder().start().await.unwrap();
    told(form(
        &mock,
        "Action=CreateUser&UserName=ada&Version=2010-05-08",
    ))
    .await;
    let host = "evil.example:4566";
    let body = "Action=CreateAccessKey&UserName=ada&Version=2010-05-08";
    let answer = refused(form(&mock, body).header("host", host), "--allow-host").await;
    assert!(!answer.contains("Secret"), "{answer}");
    let kms = ask(&mock, Method::POST, "/")
        .header("host", host)
        .header("x-amz-target", "TrentService.CreateKey")
        .body("{}");
    let answer = refused(kms, "evil.example").await;
    assert!(answer.contains("AccessDeniedException"), "{answer}");
    for path in ["/", "/bucket/key", "/_localstack/health"] {
        refused(
            ask(&mock, Method::GET, path).header("host", host),
            "evil.example",
        )
        .await;
    }
    let keys = told(form(
        &mock,
        "Action=ListAccessKeys&UserName=ada&Version=2010-05-08",
    ))
    .await;
    assert!(!keys.contains("AccessKeyId"), "{keys}");
}

#[tokio::test]
async fn a_page_changes_a_bucket_only_where_the_bucket_has_a_rule_for_it() {
    let mock = builder().start().await.unwrap();
    let put = |path: &str, body: &'static str| ask(&mock, Method::PUT, path).body(body);
    told(put("/bkt", "")).await;
    told(put("/bkt/kept", "data")).await;
    let delete = "<Delete><Object><Key>kept</Key></Object></Delete>";
    let of_page = |request: RequestBuilder| request.header("origin", EVIL);
    refused(
        of_page(ask(&mock, Method::POST, "/bkt?delete").body(delete)),
        EVIL,
    )
    .await;
    refused(of_page(put("/bkt/new", "x")), "CORS").await;
    refused(of_page(ask(&mock, Method::DELETE, "/bkt/kept")), "CORS").await;
    refused(
        ask(&mock, Method::POST, "/bkt?delete")
            .header("sec-fetch-site", "cross-site")
            .body(delete),
        "cross-site",
    )
    .await;
    assert_eq!(told(ask(&mock, Method::GET, "/bkt/kept")).await, "data");

    let rule = "<CORSConfiguration><CORSRule><AllowedOrigin>https://app.example</AllowedOrigin>\
                <AllowedMethod>PUT</AllowedMethod></CORSRule></CORSConfiguration>";
    told(put("/bkt?cors", rule)).await;
    told(put("/bkt/new", "x").header("origin", "https://app.example")).await;
    refused(of_page(put("/bkt/new", "y")), "CORS").await;
    refused(
        ask(&mock, Method::DELETE, "/bkt/kept").header("origin", "https://app.example"),
        "CORS",
    )
    .await;
    assert_eq!(told(ask(&mock, Method::GET, "/bkt/new")).await, "x");
}

#[tokio::test]
async fn a_name_that_was_allowed_is_answered_and_strict_authentication_asks_for_no_name() {
    let mock = builder()
        .allow_host("kms.lab.example")
        .start()
        .await
        .unwrap();
    let identity = "/?Action=GetCallerIdentity&Version=2011-06-15";
    for host in [
        "kms.lab.example",
        "b.kms.lab.example:4566",
        "kms-mock:4566",
        "localhost",
    ] {
        told(ask(&mock, Method::GET, identity).header("host", host)).await;
    }
    refused(
        ask(&mock, Method::GET, identity).header("host", "lab.example"),
        "Host",
    )
    .await;

    let strict = builder().auth(Auth::Strict).start().await.unwrap();
    let unsigned = ask(&strict, Method::GET, identity).header("host", "evil.example");
    let (status, _, body) = sent(unsigned).await;
    assert_eq!(status, 403);
    assert!(body.contains("MissingAuthenticationToken"), "{body}");
}
