//! Who stands behind the principals of a policy: asked when it is written, shown when
//! it is read.
//!
//! Source of truth: IAM user guide, "AWS JSON policy elements: Principal": a policy that
//! names a user or role keeps its unique id; when that identity is deleted, the policy
//! shows the id, since there is no ARN to show, and another one of the same name is not
//! the policy's.
//!
//! Unknown and chosen: that the unique id of a session is shown with the session's name.

use std::{borrow::Cow, collections::BTreeMap};

use super::{
    document::{Policy, PolicyError, each_statement},
    json::Json,
    principals::Principals,
};
use crate::world::{arn::six_parts, directory::Directory};

impl Policy {
    pub(super) fn principals_mut(&mut self) -> impl Iterator<Item = &mut Principals> {
        let statements = self.statements.iter_mut();
        statements.filter_map(|statement| statement.principals.as_mut())
    }

    /// The policy with the unique id behind each user and role that it names, of
    /// accounts that `directory` keeps.
    ///
    /// # Errors
    /// [`PolicyError::InvalidPrincipal`] of the first that does not exist.
    pub(crate) fn bound_to(mut self, directory: &dyn Directory) -> Result<Self, PolicyError> {
        for (at, statement) in self.statements.iter_mut().enumerate() {
            if let Some(principals) = &mut statement.principals {
                let bound = principals.bind(directory);
                bound.map_err(|value| PolicyError::InvalidPrincipal {
                    place: format!("statement {}", at + 1),
                    value,
                })?;
            }
        }
        Ok(self)
    }

    /// The unique ids behind the principals, by ARN.
    pub(crate) fn unique_ids(&self) -> BTreeMap<String, String> {
        let statements = self.statements.iter();
        let principals = statements.filter_map(|statement| statement.principals.as_ref());
        principals
            .flat_map(Principals::bound)
            .map(|(arn, id)| (arn, id.to_string()))
            .collect()
    }

    /// The text of `form` with the unique ids of users and roles that are gone in
    /// place of their ARNs, as AWS shows them; in KMS's layout then.
    pub(crate) fn shown<'p>(&'p self, form: &'p str, directory: &dyn Directory) -> Cow<'p, str> {
        let mut gone = self.unique_ids();
        gone.retain(|_, id| !directory.is_there(id));
        if gone.is_empty() {
            return Cow::Borrowed(form);
        }
        let Ok(Json::Object(mut members)) = serde_json::from_str(form) else {
            unreachable!("the text was parsed when the policy was made");
        };
        each_statement(&mut members, |elements| {
            let principals = elements
                .iter_mut()
                .filter(|(name, _)| name == "Principal" || name == "NotPrincipal");
            for (_, value) in principals {
                put_ids(value, &gone);
            }
        });
        Cow::Owned(Json::Object(members).render())
    }
}

/// Puts unique ids in place of ARNs; a session keeps its name.
fn put_ids(value: &mut Json, ids: &BTreeMap<String, String>) {
    match value {
        Json::Text(text) => {
            if let Some(id) = ids.get(text) {
                let session = six_parts(text)
                    .and_then(|[.., resource]| resource.strip_prefix("assumed-role/"))
                    .and_then(|rest| rest.split_once('/'));
                *text = match session {
                    Some((_, session)) => format!("{id}:{session}"),
                    None => id.clone(),
                };
            }
        }
        Json::List(items) => items.iter_mut().for_each(|item| put_ids(item, ids)),
        Json::Object(members) => members
            .iter_mut()
            .for_each(|(_, value)| put_ids(value, ids)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
