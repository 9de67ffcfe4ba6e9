//! In the place of the object store in a build without the feature `s3`: it holds
//! nothing and refuses every request with S3's error for what is not implemented.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use nsm_sim::clock::Clock;

use crate::{
    journal::{Journal, ReadError, Snapshot, Unwritten},
    wire::xml::Xml,
};

/// The tables of the object store, which every data directory has.
pub(crate) mod keep {
    use crate::journal::Table;

    pub(crate) const TABLES: &[Table] = &[
        Table("buckets"),
        Table("versions"),
        Table("object_tags"),
        Table("uploads"),
        Table("parts"),
    ];
}

#[path = "s3/sender.rs"]
pub(crate) mod sender;

/// What LocalStack's health says of this service.
pub(crate) const STATUS: &str = "disabled";
const MISSING: &str = "[drydock] this kms-mock was built without its feature `s3`";

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type AnswerBody = BoxBody<Bytes, BoxError>;
pub(crate) type Answer = Response<AnswerBody>;

/// Holds nothing.
#[derive(Debug)]
pub(crate) struct ObjectStore;

/// There is no bucket to be had.
#[derive(Debug, thiserror::Error)]
#[error("{MISSING}")]
pub(crate) struct NoBucket;

impl ObjectStore {
    pub(crate) fn with_journal(_: Arc<dyn Clock>, _: &str, _: u64, _: &Journal) -> Self {
        Self
    }

    pub(crate) fn plant_bucket(&self, _name: &str, _account: &str) -> Result<(), NoBucket> {
        Err(NoBucket)
    }

    pub(crate) fn plant_policy(&self, _bucket: &str, _text: &str) -> Result<(), NoBucket> {
        Err(NoBucket)
    }

    pub(crate) fn clear(&self) -> Result<(), Unwritten> {
        Ok(())
    }

    /// Leaves what a data directory holds of objects where it is.
    pub(crate) fn load(&self, _: &Snapshot) -> Result<(), ReadError> {
        Ok(())
    }

    /// There are no rules.
    pub(crate) fn has_rule_for_page(&self, _: &http::request::Parts) -> bool {
        false
    }

    pub(crate) async fn call(
        &self,
        _: http::request::Parts,
        _: Bytes,
        _: sender::Sender,
    ) -> (Answer, sender::Trail) {
        let answer = error_response(fault("NotImplemented", 501, MISSING));
        (answer, sender::Trail::default())
    }
}

/// A refusal.
#[derive(Debug)]
pub(crate) struct Fault {
    code: &'static str,
    status: u16,
    message: String,
}

pub(crate) fn fault(code: &'static str, status: u16, message: impl Into<String>) -> Fault {
    Fault {
        code,
        status,
        message: message.into(),
    }
}

pub(crate) fn error_response(fault: Fault) -> Answer {
    let mut xml = Xml::default();
    xml.element("Error", |inside| {
        inside.text("Code", fault.code);
        inside.text("Message", &fault.message);
    });
    let mut answer = Response::new(streamed(Full::new(Bytes::from(xml.into_bytes()))));
    *answer.status_mut() = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST);
    let kind = HeaderValue::from_static("application/xml");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// An answer's body from one of another kind.
pub(crate) fn streamed<B>(body: B) -> AnswerBody
where
    B: hyper::body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>
        + Send
        + Sync
        + 'static,
{
    body.map_err(BoxError::from).boxed()
}
