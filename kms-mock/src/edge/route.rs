//! One request: which service it is for, who sends it, what the answer looks
//! like.
//!
//! Source of truth: AWS JSON 1.1 and query protocols (Smithy specifications);
//! LocalStack's `/_localstack/health` and `/_localstack/info`. `X-Amz-Target` is KMS, a form with
//! `Action` is STS or IAM, everything else is S3.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST},
    request::Parts,
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use nsm_sim::clock::UnixMillis;

use super::{
    Edge, Origin, Received, S3Request,
    authenticate::{Auth, AuthError, Gate, Service},
    body::{self, BodyError, Bounds},
    browser::{self, PageError},
    chunked::{self, ChunkError, ChunkSigner, Streaming},
    connection_timer::{ConnectionTimer, RequestInProgress},
    cut::{self, AnswerBody, Dropped},
    head::{Head, ascii},
    header_values::{date, reason_header},
};
use crate::{
    faults::{Occasion, Planned},
    iam::{self, Connection, FormAnswer},
    kms::{Call, ParsedCall, static_name},
    s3,
    world::request_id::RequestId,
};

type Answer = Response<AnswerBody>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const S3_REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
const REASON: HeaderName = HeaderName::from_static("x-drydock-reason");
const JSON: &str = "application/json";
const AMZ_JSON: &str = "application/x-amz-json-1.1";

/// A request that has come, beside what it says.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    origin: Origin,
    timer: &'a ConnectionTimer,
    request_id: RequestId,
}

/// What is noted of a request beside the answer itself.
struct Noted {
    answer: Answer,
    /// When it was answered.
    at: UnixMillis,
    /// To be added to the answer's headers.
    content_type: Option<&'static str>,
    service: &'static str,
    operation: Cow<'static, str>,
    principal: Option<Arc<str>>,
    reason: Option<String>,
}

impl Edge {
    /// Answers a request. It never fails: every refusal is an answer.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        origin: Origin,
        answering: RequestInProgress<'_>,
    ) -> Result<Answer, Dropped> {
        let request_id = RequestId::random();
        let arrival = Arrival {
            origin,
            timer: answering.timer,
            request_id,
        };
        let (parts, incoming) = request.into_parts();
        let head = Head::of(&parts.headers);
        let (mut noted, mut room) = if let Err(error) = self.keep_pages_out(&head, &parts) {
            let noted = refused_page(self.clock.now(), &parts, &error, request_id);
            (noted, parts.headers)
        } else if let Some(target) = head.target {
            let target = ascii(target).unwrap_or_default();
            let noted = self.kms(target, &head, &parts, incoming, arrival).await;
            (noted, parts.headers)
        } else {
            // Boxed: otherwise the future of every call is as large as the largest.
            let noted = Box::pin(self.route(parts, incoming, arrival)).await;
            (noted, HeaderMap::new())
        };
        let headers = noted.answer.headers_mut();
        if headers.is_empty() {
            // They go where the request's were, and hyper puts the next request's there:
            // one map serves a connection.
            room.clear();
            *headers = room;
        }
        if let Some(content_type) = noted.content_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        headers.insert(DATE, date(noted.at));
        if let Ok(id) = HeaderValue::from_bytes(request_id.as_bytes()) {
            if noted.service == "s3" {
                headers.insert(S3_REQUEST_ID, id.clone());
            }
            headers.insert(REQUEST_ID, id);
        }
        if let Some(reason) = noted.reason.as_deref().and_then(reason_header) {
            headers.insert(REASON, reason);
        }
        let status = noted.answer.status().as_u16();
        tracing::debug!(
            target: "request",
            id = request_id.as_str(),
            service = noted.service,
            operation = &*noted.operation,
            principal = noted.principal.as_deref(),
            status,
            reason = noted.reason,
        );
        let Noted {
            answer,
            at,
            service,
            operation,
            principal,
            reason,
            ..
        } = noted;
        if !self.received.is_useless() {
            let number = self.received.number();
            let received = Received {
                request_id,
                at,
                service,
                operation,
                principal,
                status,
                reason,
                tls: origin.tls,
            };
            self.received.push(number, received);
        }
        cut::apply(answer)
    }

    /// Refuses what a browser sends for a page, as far as header fields tell. Where
    /// every signature is verified no page can send one.
    fn keep_pages_out(&self, head: &Head<'_>, parts: &Parts) -> Result<(), PageError> {
        if self.auth == Auth::Strict {
            return Ok(());
        }
        browser::check_host(head, &self.hosts)?;
        // S3 has rules of its own for pages: those of each bucket.
        if head.target.is_some() || is_form(parts) {
            browser::check_page(head)?;
        }
        Ok(())
    }

    /// A request for another service than KMS.
    async fn route(&self, parts: Parts, incoming: Incoming, arrival: Arrival<'_>) -> Noted {
        let now = self.clock.now();
        match parts.uri.path() {
            "/_localstack/health" => return self.health(now),
            "/_localstack/info" => return info(now),
            "/_drydock/ca.pem" => return self.ca_certificate(now),
            _ => {}
        }
        if is_form(&parts) {
            return self.form(&parts, incoming, arrival, now).await;
        }
        self.s3(parts, incoming, arrival, now).await
    }

    fn ca_certificate(&self, at: UnixMillis) -> Noted {
        let name = "CA certificate";
        match self.tls.ca_pem() {
            Ok(pem) => own(
                at,
                name,
                200,
                "application/x-pem-file",
                pem.as_bytes().to_vec(),
            ),
            Err(error) => own(at, name, 500, "text/plain", error.to_string().into_bytes()),
        }
    }

    fn gate(&self, now: UnixMillis) -> Gate<'_> {
        Gate {
            iam: &self.iam,
            auth: self.auth,
            account: &self.account,
            region: &self.region,
            now,
        }
    }

    async fn kms(
        &self,
        target: &str,
        head: &Head<'_>,
        parts: &Parts,
        incoming: Incoming,
        arrival: Arrival<'_>,
    ) -> Noted {
        let limits = &self.limits;
        let bounds = Bounds::of(limits, limits.kms_body_bytes_max, arrival.timer);
        let collected = body::collect(incoming, head.expect.is_some(), bounds).await;
        // The one time of the call, unless a fault delays it.
        let now = self.clock.now();
        let operation = target.strip_prefix("TrentService.");
        let noted = |answer, operation, principal, reason| Noted {
            answer,
            at: now,
            content_type: Some(AMZ_JSON),
            service: "kms",
            operation,
            principal,
            reason,
        };
        let refused = |answer, principal, reason| {
            let operation = static_name(operation.unwrap_or(target));
            noted(answer, operation, principal, Some(reason))
        };
        let body = match collected {
            Ok(body) => body,
            Err(error) => {
                // AWS's own words for these are not published.
                let (status, code) = match error {
                    BodyError::TooLarge { .. } => (413, "RequestEntityTooLargeException"),
                    BodyError::Truncated => (400, "SerializationException"),
                    BodyError::TooSlow { .. } => (408, "RequestTimeoutException"),
                };
                let reason = error.to_string();
                return refused(closing(json_error(status, code, &reason)), None, reason);
            }
        };
        let admitted = match self.gate(now).admit(Service::Kms, head, parts, &body) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (code, message) = refusal.for_kms();
                return refused(json_error(400, code, &message), None, refusal.to_string());
            }
        };
        let principal = Some(admitted.identity.arn());
        let Some(operation) = operation.filter(|_| parts.method == Method::POST) else {
            let reason = format!("{} {target} is not a KMS operation", parts.method);
            let answer = whole(400, br#"{"__type":"UnknownOperationException"}"#.to_vec());
            return refused(answer, principal, reason);
        };
        let region = admitted.region;
        let origin = arrival.origin;
        let caller = admitted.identity.caller(origin.peer.ip(), origin.tls);
        let user_agent = head.user_agent.and_then(ascii);
        let call = Call {
            operation,
            body: &body,
            region: region.as_deref(),
            caller: &caller,
            request_id: arrival.request_id,
            user_agent: user_agent.unwrap_or_default(),
        };
        let call = ParsedCall::of(call);
        let mut planned = self.faults_of(&call);
        if let Some(planned) = &planned
            && !planned.latency.is_zero()
        {
            Box::pin(tokio::time::sleep(planned.latency)).await;
        }
        let operation = call.operation_name();
        let is_long = call.may_make_rsa_key();
        let answer_it = || self.kms.answer(call, now, &self.faults, planned.as_mut());
        let reply = if is_long {
            // Up to a second; other connections of this worker go on.
            tokio::task::block_in_place(answer_it)
        } else {
            answer_it()
        };
        let mut answer = whole(reply.status, reply.body);
        if let Some(wire) = planned.and_then(|planned| planned.wire()) {
            answer.extensions_mut().insert(wire);
        }
        noted(answer, operation, principal, reply.reason)
    }

    /// The faults that meet a call; `None` for nearly all.
    fn faults_of(&self, parsed: &ParsedCall<'_>) -> Option<Planned> {
        if !self.faults.any() {
            return None;
        }
        let call = parsed.call();
        let principal = &call.caller.principal;
        let planned = self.faults.plan(&Occasion {
            operation: call.operation,
            principal_arn: &principal.arn(),
            role_arn: &principal.role_arn(),
            attested: parsed.is_attested(),
        });
        (!planned.is_empty()).then_some(planned)
    }

    async fn form(
        &self,
        parts: &Parts,
        incoming: Incoming,
        arrival: Arrival<'_>,
        now: UnixMillis,
    ) -> Noted {
        let head = Head::of(&parts.headers);
        let limits = &self.limits;
        let max = limits.form_body_bytes_max;
        let request_id = arrival.request_id.as_str();
        let noted = |answer: FormAnswer, action: &str, principal, reason| Noted {
            answer: whole(answer.status, answer.body),
            at: now,
            content_type: Some("text/xml"),
            service: iam::service(action),
            operation: action.to_owned().into(),
            principal,
            reason,
        };
        let bounds = Bounds::of(limits, max, arrival.timer);
        let body = match body::collect(incoming, head.expect.is_some(), bounds).await {
            Ok(body) => body,
            Err(error) => {
                let status = match error {
                    BodyError::TooLarge { .. } => 413,
                    BodyError::Truncated => 400,
                    BodyError::TooSlow { .. } => 408,
                };
                let reason = error.to_string();
                let answer = iam::refusal("", "MalformedInput", status, &reason, request_id);
                let mut noted = noted(answer, "", None, Some(reason));
                noted.answer = closing(noted.answer);
                return noted;
            }
        };
        let form = iam::Form::parse(parts.uri.query().unwrap_or_default(), &body);
        let action = form.action();
        if self.auth == Auth::Lenient && parts.method == Method::GET && !iam::only_reads(action) {
            let error = PageError::Get {
                action: action.to_owned(),
            };
            return refused_page(now, parts, &error, arrival.request_id);
        }
        let admitted = match self.gate(now).admit(Service::Form, &head, parts, &body) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (code, status, message) = refusal.for_form();
                let answer = iam::refusal(action, code, status, &message, request_id);
                return noted(answer, action, None, Some(refusal.to_string()));
            }
        };
        let principal = Some(admitted.identity.arn());
        let user_agent = head.user_agent.and_then(ascii);
        let connection = Connection {
            source_ip: Some(arrival.origin.peer.ip()),
            secure_transport: arrival.origin.tls,
            user_agent,
            region: Some(admitted.region.as_deref().unwrap_or(&self.region)),
        };
        let caller = (&**admitted.identity, connection);
        let answer = iam::answer(&self.iam, caller, &form, request_id);
        let reason = answer.error.map(str::to_owned);
        noted(answer, action, principal, reason)
    }

    async fn s3(
        &self,
        parts: Parts,
        incoming: Incoming,
        arrival: Arrival<'_>,
        now: UnixMillis,
    ) -> Noted {
        let limits = &self.limits;
        let operation = format!("{} {}", parts.method, parts.uri.path());
        let refused = |code, status, message, principal, reason: String| Noted {
            answer: s3_answer(s3::error_response(s3::fault(code, status, message))),
            at: now,
            content_type: None,
            service: "s3",
            operation: operation.clone().into(),
            principal,
            reason: Some(reason),
        };
        let max = limits.s3_body_bytes_max;
        let bounds = Bounds::of(limits, max, arrival.timer);
        let body = match body::collect(incoming, expects_continue(&parts), bounds).await {
            Ok(body) => body,
            Err(error) => {
                let (code, message) = match error {
                    BodyError::TooLarge { .. } => (
                        "EntityTooLarge",
                        "Your proposed upload exceeds the maximum allowed size",
                    ),
                    BodyError::Truncated => (
                        "IncompleteBody",
                        "You did not provide the number of bytes specified by the Content-Length \
                         HTTP header",
                    ),
                    BodyError::TooSlow { .. } => (
                        "RequestTimeout",
                        "Your socket connection to the server was not read from or written to \
                         within the timeout period. Idle connections will be closed.",
                    ),
                };
                let mut noted = refused(code, 400, message.to_owned(), None, error.to_string());
                noted.answer = closing(noted.answer);
                return noted;
            }
        };
        let head = Head::of(&parts.headers);
        let admitted = match self.gate(now).admit(Service::S3, &head, &parts, &body) {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (code, status, message) = refusal.for_s3();
                return refused(code, status, message, None, refusal.to_string());
            }
        };
        let identity = admitted.identity;
        let principal = Some(identity.arn());
        let origin = arrival.origin;
        let content_sha256 = parts.headers.get("x-amz-content-sha256").cloned();
        let sender = s3::sender::Sender {
            caller: identity.caller(origin.peer.ip(), origin.tls),
            region: admitted.region.map(Cow::into_owned),
            signature: admitted
                .signed
                .map(|(signed_at, presigned)| s3::sender::Signature {
                    presigned,
                    signed_at,
                    content_sha256,
                }),
            tls_version: origin.tls_version,
        };
        let signer = admitted.signer;
        let (parts, body) = match plain(parts, body, signer) {
            Ok(plain) => plain,
            Err(error) => {
                let (code, status, message) = match &error {
                    Unwrapping::Chunk(ChunkError::Signature { .. }) => AuthError::Mismatch.for_s3(),
                    Unwrapping::Chunk(_) | Unwrapping::Length { .. } => {
                        let text = "The request body terminated unexpectedly";
                        ("IncompleteBody", 400, text.to_owned())
                    }
                    Unwrapping::Uri => (
                        "InvalidURI",
                        400,
                        "Couldn't parse the specified URI.".to_owned(),
                    ),
                };
                return refused(code, status, message, principal, error.to_string());
            }
        };
        if self.auth == Auth::Lenient
            && browser::may_change(&parts.method)
            && let Some(page) = browser::page(&Head::of(&parts.headers))
            && !self.s3.has_rule_for_page(&parts)
        {
            let error = PageError::NoRule(page);
            let mut noted = refused_page(now, &parts, &error, arrival.request_id);
            noted.principal = principal;
            return noted;
        }
        let caller = Arc::clone(&sender.caller);
        let region = sender.region.clone();
        let user_agent = parts.headers.get("user-agent").cloned();
        let (answer, trail) = self.s3.call(parts, body, sender).await;
        let reason = trail.denial_reason();
        let user_agent = user_agent.as_ref().and_then(ascii);
        self.kms.log_s3(
            S3Request {
                request_id: arrival.request_id,
                time: now,
                caller: &caller,
                region: region.as_deref().unwrap_or(&self.region),
                user_agent: user_agent.unwrap_or_default(),
            },
            trail,
        );
        Noted {
            answer: s3_answer(answer),
            at: now,
            content_type: None,
            service: "s3",
            operation: operation.into(),
            principal,
            reason,
        }
    }

    fn health(&self, at: UnixMillis) -> Noted {
        let health = serde_json::json!({
            "services": {"iam": "running", "kms": "running", "s3": s3::STATUS, "sts": "running"},
            "edition": "drydock",
            "version": env!("CARGO_PKG_VERSION"),
            "region": self.region,
            "simulated": true,
        });
        own(at, "health", 200, JSON, health.to_string().into_bytes())
    }
}

/// LocalStack's description of itself, as far as it applies.
fn info(at: UnixMillis) -> Noted {
    let info = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "edition": "drydock",
        "is_license_activated": false,
        "is_docker": false,
    });
    own(at, "info", 200, JSON, info.to_string().into_bytes())
}

/// Why an authenticated S3 request could not be taken out of its wrapping.
#[derive(Debug, thiserror::Error)]
enum Unwrapping {
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("x-amz-decoded-content-length says {announced}, the chunks hold {found} bytes")]
    Length { announced: String, found: usize },
    #[error("the path cannot be written as a URI")]
    Uri,
}

/// Takes signature and chunking off an S3 request and puts the bucket of a
/// virtual-hosted request into its path.
fn plain(
    mut parts: Parts,
    body: Bytes,
    signer: Option<Box<ChunkSigner>>,
) -> Result<(Parts, Bytes), Unwrapping> {
    let headers = &mut parts.headers;
    let content_sha256 = headers
        .get("x-amz-content-sha256")
        .and_then(|it| it.to_str().ok());
    let streaming = content_sha256.and_then(Streaming::parse);
    let body = match streaming {
        None => body,
        Some(streaming) => {
            let decoded = chunked::decode(&body, streaming, signer.map(|it| *it))?;
            if let Some(announced) = headers.get("x-amz-decoded-content-length") {
                let announced = announced.to_str().unwrap_or_default();
                if announced.parse() != Ok(decoded.body.len()) {
                    let (announced, found) = (announced.to_owned(), decoded.body.len());
                    return Err(Unwrapping::Length { announced, found });
                }
            }
            for (name, value) in decoded.trailers {
                let name = HeaderName::from_bytes(name.as_bytes());
                // Checksums only: nothing else may come after the body.
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value))
                    && name.as_str().starts_with("x-amz-checksum-")
                {
                    headers.insert(name, value);
                }
            }
            drop_aws_chunked(headers);
            decoded.body
        }
    };
    for name in [
        "authorization",
        "x-amz-security-token",
        "x-amz-content-sha256",
        "x-amz-decoded-content-length",
        "x-amz-trailer",
        "transfer-encoding",
    ] {
        headers.remove(name);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    parts.uri = unsigned_uri(&parts.uri, virtual_bucket(&parts.headers))?;
    Ok((parts, body))
}

/// `aws-chunked,gzip` becomes `gzip`, `aws-chunked` nothing.
fn drop_aws_chunked(headers: &mut HeaderMap) {
    let Some(value) = headers.remove(CONTENT_ENCODING) else {
        return;
    };
    let rest: Vec<&str> = value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    if let Ok(rest) = HeaderValue::from_str(&rest.join(","))
        && !rest.is_empty()
    {
        headers.insert(CONTENT_ENCODING, rest);
    }
}

/// The bucket in `bucket.s3.eu-west-1.amazonaws.com`, `bucket.localhost`, or
/// `bucket.s3.localhost.localstack.cloud`, a name of this machine.
fn virtual_bucket(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
    let host = host.strip_suffix(".localstack.cloud").unwrap_or(host);
    let bucket = match host.strip_suffix(".localhost") {
        Some(before) => match before.rsplit_once(".s3") {
            // `s3` itself, or with a Region after it.
            Some((bucket, region)) if region.is_empty() || region.starts_with('.') => bucket,
            _ => before,
        },
        None => host.strip_suffix(".amazonaws.com")?.rsplit_once(".s3")?.0,
    };
    let is_service = bucket == "s3" || bucket.starts_with("s3.");
    (!bucket.is_empty() && !is_service).then_some(bucket)
}

/// The URI without presigning parameters and with the bucket in its path.
fn unsigned_uri(uri: &Uri, bucket: Option<&str>) -> Result<Uri, Unwrapping> {
    const PRESIGNING: [&str; 7] = [
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
    ];
    // Version 2 presigns by these; version 4 knows nothing of them.
    const PRESIGNING_2: [&str; 4] = [
        "AWSAccessKeyId",
        "Signature",
        "Expires",
        "x-amz-security-token",
    ];
    let name_of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let query = uri.query().unwrap_or_default();
    let by_version_2 = query
        .split('&')
        .any(|pair| name_of(pair) == PRESIGNING_2[0]);
    let mut text = bucket.map_or_else(String::new, |bucket| format!("/{bucket}"));
    text.push_str(uri.path());
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| {
            let name = name_of(pair);
            let presigns = PRESIGNING.contains(&name.as_str())
                || by_version_2 && PRESIGNING_2.contains(&name.as_str());
            !pair.is_empty() && !presigns
        })
        .collect();
    if !kept.is_empty() {
        text.push('?');
        text.push_str(&kept.join("&"));
    }
    text.parse().map_err(|_| Unwrapping::Uri)
}

/// The refusal of a page's request, as the service that it is for writes one. Its
/// body is not read.
fn refused_page(at: UnixMillis, parts: &Parts, error: &PageError, request_id: RequestId) -> Noted {
    let message = error.to_string();
    let operation = format!("{} {}", parts.method, parts.uri.path());
    let (service, content_type, answer) = if Head::of(&parts.headers).target.is_some() {
        let answer = json_error(403, "AccessDeniedException", &message);
        ("kms", Some(AMZ_JSON), answer)
    } else if is_form(parts) {
        let id = request_id.as_str();
        let answer = iam::refusal("", "AccessDenied", 403, &message, id);
        ("iam", Some("text/xml"), whole(answer.status, answer.body))
    } else {
        let fault = s3::fault("AccessDenied", 403, message.clone());
        ("s3", None, s3_answer(s3::error_response(fault)))
    };
    Noted {
        answer: closing(answer),
        at,
        content_type,
        service,
        operation: operation.into(),
        principal: None,
        reason: Some(message),
    }
}

fn is_form(parts: &Parts) -> bool {
    if parts.uri.path() != "/" {
        return false;
    }
    let form_body = parts.method == Method::POST
        && parts.headers.get(CONTENT_TYPE).is_some_and(|it| {
            it.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
    let query = parts.uri.query().unwrap_or_default();
    form_body || query.split('&').any(|pair| pair.starts_with("Action="))
}

fn expects_continue(parts: &Parts) -> bool {
    parts.headers.contains_key(http::header::EXPECT)
}

fn own(
    at: UnixMillis,
    operation: &str,
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
) -> Noted {
    Noted {
        answer: whole(status, body),
        at,
        content_type: Some(content_type),
        service: "drydock",
        operation: operation.to_owned().into(),
        principal: None,
        reason: None,
    }
}

fn whole(status: u16, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn json_error(status: u16, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({"__type": code, "message": message});
    whole(status, body.to_string().into_bytes())
}

fn s3_answer(response: s3::Answer) -> Answer {
    response.map(Either::Right)
}

/// After a body that was not read to its end the connection is of no use.
fn closing(mut answer: Answer) -> Answer {
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_found_in_virtual_hosts_and_nowhere_else() {
        let table = [
            ("b.s3.us-east-1.amazonaws.com", Some("b")),
            ("b.c.s3.amazonaws.com", Some("b.c")),
            ("b.localhost:4566", Some("b")),
            ("b.s3.localhost:4566", Some("b")),
            ("b.s3.localhost.localstack.cloud:4566", Some("b")),
            (
                "b.c.s3.eu-west-1.localhost.localstack.cloud:4566",
                Some("b.c"),
            ),
            ("s3.localhost.localstack.cloud:4566", None),
            ("s3.eu-west-1.localhost.localstack.cloud:4566", None),
            ("localhost.localstack.cloud:4566", None),
            ("s3.localhost:4566", None),
            ("localhost:4566", None),
            ("127.0.0.1:4566", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("kms.us-east-1.amazonaws.com", None),
        ];
        for (host, bucket) in table {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(virtual_bucket(&headers), bucket, "{host}");
        }
    }

    #[test]
    fn presigning_leaves_the_query_and_the_rest_stays() {
        let uri = "/k%20y?X-Amz-Date=1&versionId=2&X-Amz-Signature=3&acl"
            .parse()
            .unwrap();
        assert_eq!(
            unsigned_uri(&uri, Some("b")).unwrap(),
            "/b/k%20y?versionId=2&acl"
        );
        assert_eq!(unsigned_uri(&"/b".parse().unwrap(), None).unwrap(), "/b");
        let version_2 = "/b/k?AWSAccessKeyId=a&Signature=s&Expires=1&versionId=2"
            .parse()
            .unwrap();
        assert_eq!(unsigned_uri(&version_2, None).unwrap(), "/b/k?versionId=2");
        let untouched = "/b/k?Expires=1".parse().unwrap();
        assert_eq!(unsigned_uri(&untouched, None).unwrap(), "/b/k?Expires=1");
    }
}
