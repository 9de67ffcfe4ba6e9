//! Permissions boundaries: a managed policy that says what a user's or role's
//! own policies can give at most.
//!
//! Source of truth: AWS IAM user guide, "Permissions boundaries for IAM
//! entities"; the texts of refusals are recorded. What a boundary means is
//! decided by [`crate::policy::decide`]. Unknown and chosen: deleting a
//! boundary that does not exist succeeds.

use crate::{
    iam::{
        entity::{Entity, EntityKind, Who},
        error::IamError,
        service::Iam,
        state::Identities,
    },
    world::arn::six_parts,
};

impl Iam {
    /// Bounds a user or role by a managed policy of its account or of AWS.
    ///
    /// # Errors
    /// [`IamError`]: NoSuchEntity, InvalidInput.
    pub fn put_boundary(&self, who: Who<'_>, policy_arn: &str) -> Result<(), IamError> {
        self.change_bounded(who, |identities, entity| {
            entity.boundary = Some(boundary(identities, who.account, policy_arn)?);
            Ok(())
        })
    }

    /// Takes the boundary of a user or role away.
    ///
    /// # Errors
    /// [`IamError::NoSuchEntity`].
    pub fn delete_boundary(&self, who: Who<'_>) -> Result<(), IamError> {
        self.change_bounded(who, |_, entity| {
            entity.boundary = None;
            Ok(())
        })
    }

    fn change_bounded(
        &self,
        who: Who<'_>,
        change: impl FnOnce(&Identities, &mut Entity) -> Result<(), IamError>,
    ) -> Result<(), IamError> {
        match who.kind {
            EntityKind::Role | EntityKind::User => self.change_entity(who, change),
            EntityKind::Group => Err(IamError::InvalidInput("A group has no boundary.")),
        }
    }
}

/// The ARN of a policy that can be a boundary.
pub(super) fn boundary(
    identities: &Identities,
    account: &str,
    arn: &str,
) -> Result<String, IamError> {
    if !is_policy_arn(arn) {
        let arn = arn.chars().take(2_048).collect();
        return Err(IamError::InvalidBoundaryArn(arn));
    }
    if !identities.is_attachable(account, arn) {
        let arn = arn.to_owned();
        return Err(IamError::NoSuchBoundary { arn });
    }
    Ok(arn.to_owned())
}

fn is_policy_arn(arn: &str) -> bool {
    matches!(
        six_parts(arn),
        Some(["arn", partition, "iam", "", account, resource])
            if !partition.is_empty() && !account.is_empty() && resource.starts_with("policy/")
    )
}
