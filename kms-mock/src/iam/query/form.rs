//! The parameters of a request of the query protocol: one form of names and values.
//!
//! Source of truth: AWS query protocol (Smithy `awsQuery`): lists and maps are numbered
//! members.

use std::{collections::BTreeMap, time::Duration};

use crate::iam::error::IamError;

/// More parameters than any operation here takes.
const PARAMETERS_MAX: usize = 200;
/// Members of a list, tags or ARNs, that are read.
const MEMBERS_MAX: usize = 60;

/// The parameters of one request.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    /// Parameters of the query string and the body together.
    pub(crate) fn parse(query: &str, body: &[u8]) -> Self {
        let from_query = form_urlencoded::parse(query.as_bytes());
        let from_body = form_urlencoded::parse(body);
        let pairs = from_query.chain(from_body).take(PARAMETERS_MAX);
        Self(
            pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    pub(crate) fn action(&self) -> &str {
        self.get("Action").unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn need(&self, name: &str, shown: &'static str) -> Result<&str, IamError> {
        self.get(name).ok_or(IamError::MissingParameter(shown))
    }

    pub(super) fn seconds(
        &self,
        name: &str,
        shown: &'static str,
    ) -> Result<Option<Duration>, IamError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let seconds = text.parse().map(Duration::from_secs);
        seconds.map(Some).map_err(|_| IamError::Validation {
            parameter: shown,
            value: text.chars().take(64).collect(),
            constraint: "Member must be a number of seconds",
        })
    }

    /// `Name.member.1`, `Name.member.2` and so on, with what follows them.
    pub(super) fn members(&self, name: &str, after: &str) -> Vec<String> {
        let members = (1..=MEMBERS_MAX).map_while(|i| {
            let member = format!("{name}.member.{i}{after}");
            self.get(&member).map(str::to_owned)
        });
        members.collect()
    }

    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let keys = self.members("Tags", ".Key");
        let values = self.members("Tags", ".Value");
        keys.into_iter().zip(values).collect()
    }

    /// Where something new goes; `/` if nothing is said.
    pub(super) fn path(&self) -> &str {
        self.get("Path").unwrap_or("/")
    }

    /// What a list is of; everything if nothing is said.
    pub(super) fn path_prefix(&self) -> &str {
        self.get("PathPrefix").unwrap_or("/")
    }
}
