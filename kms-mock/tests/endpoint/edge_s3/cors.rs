//! What a browser is told of other origins.

use reqwest::Response;

use crate::edge_s3::uploads::{Bucket, element, refused};

const PAGE: &str = "https://page.example:4200";
const CORS: &[u8] = b"<CORSConfiguration><CORSRule><AllowedOrigin>https://page.example:4200\
    </AllowedOrigin><AllowedOrigin>http://*.test</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
    <AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-AMZ-meta-*</AllowedHeader><ExposeHeader>\
    etag</ExposeHeader><MaxAgeSeconds>3000</MaxAgeSeconds></CORSRule><CORSRule><AllowedOrigin>*\
    </AllowedOrigin><AllowedMethod>HEAD</AllowedMethod></CORSRule></CORSConfiguration>";

async fn open() -> Bucket {
    let bucket = Bucket::new().await;
    bucket.put("/k", &[], b"body").await;
    assert_eq!(bucket.put("?cors", &[], CORS).await.status(), 200);
    bucket
}

async fn preflight(bucket: &Bucket, headers: &[(&str, &str)]) -> Response {
    bucket.send("OPTIONS", "/k", headers, b"").await
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|it| it.to_str().unwrap())
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_first_rule_that_allows_it() {
    let bucket = open().await;
    let asked = [
        ("origin", PAGE),
        ("access-control-request-method", "PUT"),
        (
            "access-control-request-headers",
            "X-Amz-Meta-A, x-amz-meta-b",
        ),
    ];
    let allowed = preflight(&bucket, &asked).await;
    assert_eq!(allowed.status(), 200);
    for (name, value) in [
        ("access-control-allow-origin", PAGE),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-meta-a, x-amz-meta-b"),
        ("access-control-expose-headers", "etag"),
        ("access-control-max-age", "3000"),
        (
            "vary",
            "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        ),
    ] {
        assert_eq!(header(&allowed, name), Some(value), "{name}");
    }
    let anyone = [
        ("origin", "http://else"),
        ("access-control-request-method", "HEAD"),
    ];
    let allowed = preflight(&bucket, &anyone).await;
    assert_eq!(header(&allowed, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&allowed, "access-control-allow-credentials"), None);
    let part = [
        ("origin", "http://a.b.test"),
        ("access-control-request-method", "GET"),
    ];
    assert_eq!(preflight(&bucket, &part).await.status(), 200);
}

#[tokio::test]
async fn a_preflight_that_no_rule_allows_is_refused() {
    let bucket = open().await;
    const METHOD: &str = "access-control-request-method";
    for asked in [
        vec![("origin", "http://page.example:4200"), (METHOD, "PUT")],
        vec![("origin", PAGE), (METHOD, "DELETE")],
        vec![("origin", "http://test"), (METHOD, "GET")],
        vec![
            ("origin", PAGE),
            (METHOD, "GET"),
            ("access-control-request-headers", "x-amz-acl"),
        ],
    ] {
        let refusal = preflight(&bucket, &asked).await;
        assert_eq!(header(&refusal, "content-type"), Some("application/xml"));
        assert_eq!(header(&refusal, "access-control-allow-origin"), None);
        let body = refused(refusal, 403, "AccessForbidden").await;
        assert_eq!(element(&body, "Method"), asked[1].1);
        assert_eq!(element(&body, "ResourceType"), "OBJECT");
    }
    let body = refused(preflight(&bucket, &[]).await, 400, "BadRequest").await;
    assert_eq!(
        element(&body, "Message"),
        "Insufficient information. Origin request header needed."
    );
}

#[tokio::test]
async fn an_answer_is_shown_to_pages_of_allowed_origins_and_to_no_others() {
    let bucket = open().await;
    let shown = bucket.send("GET", "/k", &[("origin", PAGE)], b"").await;
    assert_eq!(header(&shown, "access-control-allow-origin"), Some(PAGE));
    for other in [
        vec![("origin", "http://page.example:4200")],
        // A request that announces another method is taken for that.
        vec![("origin", PAGE), ("access-control-request-method", "POST")],
        vec![],
    ] {
        let hidden = bucket.send("GET", "/k", &other, b"").await;
        assert_eq!(hidden.status(), 200);
        assert_eq!(header(&hidden, "access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn rules_are_answered_as_they_were_set_and_deleted() {
    let bucket = Bucket::new().await;
    let none = bucket.get("?cors").await;
    refused(none, 404, "NoSuchCORSConfiguration").await;
    let asked = [("origin", PAGE)];
    let body = refused(preflight(&bucket, &asked).await, 403, "AccessForbidden").await;
    assert_eq!(
        element(&body, "Message"),
        "CORSResponse: CORS is not enabled for this bucket."
    );
    assert_eq!(element(&body, "Method"), "OPTIONS");
    bucket.put("?cors", &[], CORS).await;
    let told = bucket.get("?cors").await.text().await.unwrap();
    assert_eq!(element(&told, "AllowedHeader"), "x-AMZ-meta-*");
    for wrong in [
        "<CORSConfiguration/>",
        "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule>\
         </CORSConfiguration>",
    ] {
        let set = bucket.put("?cors", &[], wrong.as_bytes()).await;
        refused(set, 400, "MalformedXML").await;
    }
    let method = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>\
        PATCH</AllowedMethod></CORSRule></CORSConfiguration>";
    let set = bucket.put("?cors", &[], method).await;
    refused(set, 400, "InvalidRequest").await;
    let forgotten = bucket.send("DELETE", "?cors", &[], b"").await;
    assert_eq!(forgotten.status(), 204);
    refused(bucket.get("?cors").await, 404, "NoSuchCORSConfiguration").await;
}
